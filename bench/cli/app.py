"""The command `bench`: what the pipeline's rules call, usable by hand. `bench COMMAND --help` shows each command.

No module here imports torch or pandas at its top: each command imports what it needs when it runs, so that `--help`,
a mistyped option and the light commands answer at once.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from bench.cli.bundle import bundle
from bench.cli.check import check
from bench.cli.checklist import checklist
from bench.cli.compare import compare
from bench.cli.evaluate import evaluate
from bench.cli.export import export
from bench.cli.init import init
from bench.cli.output import flush, print_any_letter
from bench.cli.plan import plan
from bench.cli.prepare import prepare
from bench.cli.publish import cards, publish
from bench.cli.reference import reference
from bench.cli.report import figures, page, tables
from bench.cli.reproduce import reproduce
from bench.cli.schema import schema
from bench.cli.selfcheck import selfcheck
from bench.cli.status import status
from bench.cli.train import train
from bench.cli.train_group import group
from bench.cli.tuned import tuned
from bench.cli.verify import verify
from bench.errors import DISK_FULL, EXIT_BAD_INPUT, EXIT_TRY_AGAIN, BenchError
from bench.log import configure_logging

# Errors of a file that a person named, or may not use: no fault of the program, so no traceback.
UNUSABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP)
FULL = (errno.ENOSPC, errno.EDQUOT)
INTERRUPTED = 130  # 128 + SIGINT, as shells report it


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=False)
def app() -> None:
    """Benchmarks of parameter-efficient fine-tuning."""


COMMANDS = (
    init,
    check,
    plan,
    prepare,
    train,
    group,
    tuned,
    status,
    tables,
    figures,
    page,
    reference,
    checklist,
    reproduce,
    compare,
    evaluate,
    export,
    bundle,
    verify,
    cards,
    publish,
    schema,
    selfcheck,
)
for command in COMMANDS:
    app.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, or that of the error whose message was printed to stderr.

    arguments: the words after `bench`; None: those of this process.
    """
    configure_logging()
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        return int(app.main(words, prog_name="bench", standalone_mode=False) or 0)
    except click.UsageError as error:
        # an option without its value is found before click knows whose option it is
        called = ["bench", *words[:1]] if words[:1] and words[0] in app.commands else ["bench"]
        command = error.ctx.command_path if error.ctx else " ".join(called)
        print(f"error: {error.format_message()} (see {command} --help)", file=sys.stderr, flush=True)
        return EXIT_BAD_INPUT
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    except OSError as error:
        if error.errno in FULL:
            place = error.filename2 or error.filename
            at = f" at {place}" if place else ""
            print(f"error: {DISK_FULL}{at}: free space, and run the same command again", file=sys.stderr, flush=True)
            return EXIT_TRY_AGAIN
        if error.errno not in UNUSABLE or error.filename is None:
            raise
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr, flush=True)
        return EXIT_BAD_INPUT
    except click.Abort:
        return INTERRUPTED


def run() -> NoReturn:
    """The entry point of the installed command. Does not return.

    It leaves without Python's clean-up: taking apart the modules of torch, transformers and PEFT takes almost two
    seconds per process, and nothing here needs it. Files are closed and locks released by then.
    """
    print_any_letter()
    code = main()
    flush()
    os._exit(code)
