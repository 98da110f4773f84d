"""What went wrong, told in the pipeline's own words: one message, exit code 2 where the input is to blame."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.errors import EXIT_BAD_INPUT, BenchError
from bench.pipeline.study import Pipeline

MARK = "error: "  # how the command line begins the message of a BenchError
SHOWN = 10


@contextmanager
def refuse() -> Iterator[None]:
    """Bad input while the Snakefile is read: its message, and the end, before anything is planned or submitted."""
    try:
        yield
    except BenchError as error:
        print(f"{MARK}{error}", file=sys.stderr, flush=True)
        raise SystemExit(error.exit_code) from None


def report_failures(pipeline: Pipeline) -> None:
    """After a run with errors: why `prepare` refused (exit code 2), else each cell without a record and its last words.

    Raises SystemExit(2) where bad input was found by `prepare`; nothing was trained then.
    """
    refused = [message for name in _unprepared(pipeline) if (message := _message(pipeline.paths.prepare_log(name)))]
    if refused:
        print("\n".join(dict.fromkeys(refused)), file=sys.stderr, flush=True)
        raise SystemExit(EXIT_BAD_INPUT)
    failed = [cell for cell in pipeline.cells if _failed(pipeline, cell.id)]
    for cell in failed[:SHOWN]:
        log = pipeline.paths.log(cell.id)
        print(f"{cell.id}: {last_words(log)} (whole log: {log})", file=sys.stderr)
    if failed:
        print(
            f"{len(failed)} of {len(pipeline.cells)} cells failed; run the same command again to try them once more, "
            "or add the target `tables` for the tables of what there is",
            file=sys.stderr,
            flush=True,
        )


def _unprepared(pipeline: Pipeline) -> list[str]:
    return [Path(file).parent.name for file in pipeline.manifests if not Path(file).is_file()]


def _failed(pipeline: Pipeline, cell: str) -> bool:
    """Whether the cell was started and left no record."""
    return not pipeline.paths.cell(cell).record.is_file() and pipeline.paths.log(cell).is_file()


def last_words(log: Path) -> str:
    """Why a try ended: the message of its error, or its last line."""
    lines = log.read_text(errors="replace").strip().splitlines()
    return _message(log).removeprefix(MARK) or (lines[-1] if lines else "no output")


def _message(log: Path) -> str:
    """From the last `error: ` line of a log to its end; empty where there is none."""
    text = log.read_text(errors="replace") if log.is_file() else ""
    start = text.rfind(f"\n{MARK}")
    if start >= 0:
        return text[start + 1 :].strip()
    return text.strip() if text.startswith(MARK) else ""
