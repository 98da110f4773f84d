"""Failures, reported in the pipeline's own words: one message, and exit code 2 where the input is to blame."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.config.cell import Cell
from bench.errors import DISK_FULL, EXIT_BAD_INPUT, BenchError
from bench.paths import StudyPaths
from bench.pipeline.study import Pipeline

MARK = "error: "  # how the command line begins the message of a BenchError
MOST_SHOWN = 10  # cells that are listed at the end of a run


@contextmanager
def exit_on_bad_input() -> Iterator[None]:
    """Around the reading of the Snakefile: a BenchError ends Snakemake with its message, before anything is planned."""
    try:
        yield
    except BenchError as error:
        print(f"{MARK}{error}", file=sys.stderr, flush=True)
        raise SystemExit(error.exit_code) from None


def report_failures(pipeline: Pipeline) -> None:
    """Print, after a run with errors, why `bench prepare` refused, or else why each cell without a record ended.

    Raises SystemExit(2) if `bench prepare` found bad input; nothing was trained then. A full disk is none.
    """
    unprepared = [Path(file).parent.name for file in pipeline.manifests if not Path(file).is_file()]
    messages = [message for name in unprepared if (message := error_message(pipeline.paths.prepare_log(name)))]
    if messages:
        # the data sets of a refused model carry its message too: each message once
        print("\n".join(dict.fromkeys(messages)), file=sys.stderr, flush=True)
        if not all(message.startswith(f"{MARK}{DISK_FULL}") for message in messages):
            raise SystemExit(EXIT_BAD_INPUT)
        return
    failed = [(cell, log) for cell in (*pipeline.trials, *pipeline.cells) if (log := _failed(pipeline, cell))]
    for cell, log in failed[:MOST_SHOWN]:
        print(f"{cell.id}: {last_message(log)} (whole log: {log})", file=sys.stderr)
    if failed:
        trials = sum(cell.trial is not None for cell, _ in failed)
        of_trials = f"{trials} of {len(pipeline.trials)} trials and " if trials else ""
        print(
            f"{of_trials}{len(failed) - trials} of {len(pipeline.cells)} cells failed; run the same command again to "
            "try them once more, or add the target `tables` for the tables of what there is",
            file=sys.stderr,
            flush=True,
        )


def steps_of(cell: Cell, paths: StudyPaths) -> list[tuple[Path, Path]]:
    """What the jobs of a cell leave, each with the log of its latest attempt: the rungs of a trial, and the record."""
    files = paths.cell(cell.id)
    rungs = range(1, len(cell.trial.halving.rungs) + 1) if cell.trial and cell.trial.halving else ()
    return [*((files.rung(rung), paths.rung_log(cell.id, rung)) for rung in rungs), (files.record, paths.log(cell.id))]


def last_message(log: Path) -> str:
    """Why an attempt ended: the message of its error, or the last line of its log."""
    try:
        text = log.read_text(errors="replace")
    except OSError as error:  # another user's
        return f"its log cannot be read: {error.strerror}"
    lines = text.strip().splitlines() or ["stopped or killed before it wrote anything"]
    return error_message(log).removeprefix(MARK) or lines[-1]


def _failed(pipeline: Pipeline, cell: Cell) -> Path | None:
    """The log of a job of the cell that was started and left nothing; None if there is none."""
    steps = steps_of(cell, pipeline.paths)
    if os.path.isfile(steps[-1][0]):
        return None
    return next((log for file, log in steps if not os.path.isfile(file) and os.path.isfile(log)), None)


def text_of(log: Path) -> str:
    """What the log holds; empty if there is none, or none that can be read."""
    try:
        return log.read_text(errors="replace")
    except OSError:
        return ""


def error_message(log: Path) -> str:
    """The text from the last line that begins with `error: ` to the end of the log; empty if there is no such line."""
    text = text_of(log)
    start = text.rfind(f"\n{MARK}")
    if start >= 0:
        return text[start + 1 :].strip()
    return text.strip() if text.startswith(MARK) else ""
