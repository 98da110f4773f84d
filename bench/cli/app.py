"""The command `bench`: what the pipeline's rules call, usable by hand. `bench COMMAND --help` shows each.

Every command imports what it needs when it runs, so that only those that need torch pay for it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from bench.errors import BenchError
from bench.log import configure_logging

COMMANDS = {
    "check": "validate every YAML file of tasks, methods, backbones and studies",
    "plan": "every cell of a study with its parameters, bytes and steps; needs no weights",
    "prepare": "fetch and tokenize what a study needs (the only step that uses the network)",
    "train": "train and evaluate one cell",
    "group": "train and evaluate several cells of one task, which share the libraries' start",
    "status": "what is done, running, failed, missing",
    "tables": "make a study's tables again from its records",
    "figures": "make a study's figures again from its records",
    "page": "make a study's page again from its records",
    "evaluate": "score a saved adapter or a checkpoint on a task",
    "export": "write a cell's adapter as a plain LoRA adapter",
}
MODULES = {"group": "train_group", "tables": "report", "figures": "report", "page": "report"}  # where not its name


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0, or that of the BenchError whose message went to stderr."""
    args = _parser().parse_args(arguments)
    configure_logging()
    args.words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return int(args.run(args) or 0)
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    except BrokenPipeError:  # `bench plan paper | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def run() -> NoReturn:
    """What the shell starts. It leaves at once: taking torch's modules apart again would cost most of a second."""
    code = main()
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench", description="Benchmarks of parameter-efficient fine-tuning.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        module = import_module(f"bench.cli.{MODULES.get(name, name)}")
        command = commands.add_parser(name, help=summary, description=module.__doc__)
        module.add_arguments(command)
        command.set_defaults(run=module.run, command=name)
    return parser
