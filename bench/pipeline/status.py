"""The state of each cell of a study: from its record, from Slurm's queue, from its log."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.config.cell import Cell
from bench.config.resolve import ResolvedStudy
from bench.errors import BenchError
from bench.files import digest
from bench.paths import StudyPaths
from bench.pipeline.failures import MOST_SHOWN, last_message, steps_of
from bench.pipeline.slurm_jobs import jobs_of_cells
from bench.pipeline.study import Pipeline

FAILURES = ("oom", "diverged", "failed")
RECORDED = ("ok", *FAILURES, "damaged")  # states of a cell with a record of its spec
LARGEST = 100_000_000  # bytes of a file whose SHA-256 is taken unless that of all is wanted


@dataclass(frozen=True)
class CellState:
    """`name`: a record's status (ok, oom, ...), or outdated, unreadable, damaged, queued, running, started, missing,
    or waiting: its trials, or the cell whose ranks it takes over, decide what it is trained with, and are not recorded.
    """

    cell: Cell
    name: str
    detail: str = ""


def cell_states(study: ResolvedStudy, results: Path, *, largest: int | None = LARGEST) -> list[CellState]:
    """The state of every trial, then of every cell, in the study's order.

    A record is compared with its checksums, and each file beside it that has at most `largest` bytes with its SHA-256
    (None: every file).
    """
    paths = StudyPaths(results, study.name)
    jobs = jobs_of_cells(study, Path.cwd())
    chosen = with_known_choices(study, results)
    states: list[CellState] = []
    unfinished: set[str] = set()  # groups with a trial that has no record of its spec
    for cell in (*_trials_of(study), *chosen.cells):
        record, job = paths.cell(cell.id).record, jobs.get(cell.id)
        awaits = chosen.awaits(cell)
        recorded = None if awaits else _recorded(cell, record, largest)
        if cell.trial and (recorded is None or recorded.name not in RECORDED):
            unfinished.add(cell.group)
        if recorded is not None:
            states.append(recorded)
        elif job is not None:
            states.append(CellState(cell, "running" if job.state == "RUNNING" else "queued", str(job)))
        elif awaits and (cell.tuned_group in unfinished or chosen.awaits_ranks(cell)):
            reason, what = (
                ("its trials", "choice") if cell.tuned_group in unfinished else (_donor(chosen, cell), "ranks")
            )
            detail = f"for {reason}"
            if os.path.isfile(record):
                detail += f"; it has a record, and is trained again only if the {what} change{'s' * (what == 'choice')}"
            states.append(CellState(cell, "waiting", detail))
        else:
            states.append(_unrecorded(cell, [log for _, log in reversed(steps_of(cell, paths))]))
    return states


def summary(states: Sequence[CellState]) -> str:
    """How many trials, and apart from them how many cells, are in each state."""
    trials = [state for state in states if state.cell.trial]
    cells = [state for state in states if not state.cell.trial]
    counted = {"trials": trials, "cells": cells} if trials else {"cells": cells}
    return "; ".join(f"{len(part)} {what}: {_counts(part)}" for what, part in counted.items())


def report_unscored(pipeline: Pipeline) -> None:
    """Print, at the end of a run, each cell whose record says that it ended without a score, and what to do.

    Trials are named shortly: one that diverged is a result, the worst of its rivals.
    """
    paths, study = pipeline.paths, with_known_choices(pipeline.study, pipeline.options.results)
    wanted = {cell.id for cell in pipeline.cells}
    cells = [*pipeline.trials, *(cell for cell in study.cells if cell.id in wanted)]
    found = [_recorded(cell, paths.cell(cell.id).record, largest=0) for cell in cells]
    failed = [state for state in found if state is not None and state.name in FAILURES]
    trials = [state for state in failed if state.cell.trial]
    if trials:
        names = ", ".join(f"{state.cell.id} ({state.name})" for state in trials[:MOST_SHOWN])
        more = f" and {len(trials) - MOST_SHOWN} more" if len(trials) > MOST_SHOWN else ""
        print(
            f"{len(trials)} of {len(pipeline.trials)} trials ended without a score, so their points count as the "
            f"worst: {names}{more}",
            file=sys.stderr,
            flush=True,
        )
    states = [state for state in failed if not state.cell.trial]
    for state in states[:MOST_SHOWN]:
        message = state.detail.strip().splitlines()
        print(f"{state.cell.id}: {state.name}: {message[0] if message else 'no message'}", file=sys.stderr)
    if states:
        print(
            f"{len(states)} of {len(pipeline.cells)} cells ended without a score, and have a record that says why; for "
            f"another try: bench status {pipeline.study.name} --rerun-failed, then the same command",
            file=sys.stderr,
            flush=True,
        )


def set_failures_aside(states: Sequence[CellState], paths: StudyPaths) -> list[Path]:
    """Rename every record of a failure and return the new names.

    The next run then trains those cells again, and the messages of the failures are kept. A trial that diverged stays:
    that its point is the worst is what was to be found out.
    """
    renamed = []
    for state in states:
        if state.name in FAILURES and not (state.cell.trial and state.name == "diverged"):
            cell = paths.cell(state.cell.id)
            renamed.append(cell.record.rename(cell.free_set_aside(state.name)))
    return renamed


def _recorded(cell: Cell, file: Path, largest: int | None) -> CellState | None:
    """The state that the record in `file` tells; None if there is no record."""
    from bench.records.io import record_at  # late: Snakemake reads this module each time it parses its rules

    try:
        record = record_at(file)
    except BenchError as error:
        return CellState(cell, "unreadable", str(error))
    if record is None:
        return None
    if record.cell.spec_hash != cell.spec_hash:
        return CellState(cell, "outdated", "recorded under another spec; the next run trains it again")
    fault = _fault(file.parent, record.files, largest)
    if fault:
        return CellState(cell, "damaged", fault)
    return CellState(cell, record.status, record.message or "")


def _fault(folder: Path, files: Mapping[str, str], largest: int | None) -> str:
    """What is wrong with the files beside a record, whose SHA-256 it has; empty if nothing is."""
    for name, sha256 in files.items():
        file = folder / name
        try:
            if not file.is_file():
                return f"{file} is missing"
            small = largest is None or file.stat().st_size <= largest
            if small and digest(file) != sha256:
                return f"{file} does not have the SHA-256 that its record has"
        except OSError as error:
            return f"{file}: {error.strerror}"
    return ""


def _unrecorded(cell: Cell, logs: Sequence[Path]) -> CellState:
    """A log without a record is that of an attempt that still runs, or that ended without a record."""
    log = next(filter(os.path.isfile, logs), None)
    if log is None:
        return CellState(cell, "missing")
    return CellState(cell, "started", f"{last_message(log)} ({log})")


def with_known_choices(study: ResolvedStudy, results: Path) -> ResolvedStudy:
    """`study` with the choice and the ranks in each cell where they are known.

    A record that can't be read has a state of its own.
    """
    from bench.tuning.choose import chosen_cell, with_choices  # late, as in `_recorded`
    from bench.tuning.donors import with_known_ranks

    try:
        study = with_choices(study, results)
    except BenchError:
        cells = []
        for cell in study.cells:
            try:
                cells.append(chosen_cell(study, cell, results))
            except BenchError:
                cells.append(cell)
        study = replace(study, cells=tuple(cells))
    return with_known_ranks(study, results)


def _donor(study: ResolvedStudy, cell: Cell) -> str:
    donor = study.donor(cell)
    return f"the ranks of {donor.id}" if donor else "its ranks"


def _trials_of(study: ResolvedStudy) -> list[Cell]:
    return [trial for trials in study.trials.values() for trial in trials]


def _counts(states: Sequence[CellState]) -> str:
    counts = Counter(state.name for state in states)
    return ", ".join(f"{number} {name}" for name, number in sorted(counts.items()))
