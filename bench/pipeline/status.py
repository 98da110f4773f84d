"""The state of each cell of a study: from its record, from Slurm's queue, from its log."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.config.cell import Cell
from bench.config.resolve import ResolvedStudy
from bench.paths import StudyPaths
from bench.pipeline.failures import SHOWN, last_words
from bench.pipeline.groups import groups_of
from bench.pipeline.queue import comment_of, comment_of_rule, slurm_jobs
from bench.pipeline.study import Pipeline

FAILURES = ("oom", "diverged", "failed")


@dataclass(frozen=True)
class CellState:
    """`name`: a record's status (ok, oom, ...), or outdated, unreadable, queued, running, started, missing."""

    cell: Cell
    name: str
    detail: str = ""


def cell_states(study: ResolvedStudy, results: Path) -> list[CellState]:
    """The state of every cell, in the study's order. A job of several cells is that of each that has no record yet."""
    jobs = slurm_jobs(Path.cwd())
    groups = groups_of(study.cells, study.study.cells_per_job)
    shared = {cell.id: comment_of_rule(group.name) for group in groups for cell in group.cells}
    paths = StudyPaths(results, study.name)
    states = []
    for cell in study.cells:
        job = jobs.get(comment_of(cell)) or jobs.get(shared.get(cell.id, ""))
        recorded = _recorded(cell, paths.cell(cell.id).record)
        if recorded is not None:
            states.append(recorded)
        elif job is not None:
            states.append(CellState(cell, "running" if job.state == "RUNNING" else "queued", str(job)))
        else:
            states.append(_unrecorded(cell, paths.log(cell.id)))
    return states


def report_unscored(pipeline: Pipeline) -> None:
    """At a run's end: each cell whose record says that it ended without a score, and what to do."""
    files = [(cell, pipeline.paths.cell(cell.id).record) for cell in pipeline.cells]
    states = [state for cell, file in files if (state := _recorded(cell, file)) and state.name in FAILURES]
    for state in states[:SHOWN]:
        message = state.detail.strip().splitlines()
        print(f"{state.cell.id}: {state.name}: {message[0] if message else 'no message'}", file=sys.stderr)
    if states:
        print(
            f"{len(states)} of {len(pipeline.cells)} cells ended without a score, and have a record that says why; for "
            f"another try: bench status {pipeline.study.name} --rerun-failed, then the same command",
            file=sys.stderr,
            flush=True,
        )


def set_failures_aside(states: Sequence[CellState], study: str, results: Path) -> list[Path]:
    """Rename every record of a failure, so that the next run trains its cell again and its message is kept; the new
    names."""
    kept = []
    for state in states:
        if state.name in FAILURES:
            cell = StudyPaths(results, study).cell(state.cell.id)
            kept.append(cell.record.rename(cell.free_set_aside(state.name)))
    return kept


def _recorded(cell: Cell, file: Path) -> CellState | None:
    if not file.is_file():
        return None
    try:
        record = json.loads(file.read_bytes())
        status, of = str(record["status"]), record["cell"]["spec_hash"]
    except (ValueError, KeyError, TypeError):
        return CellState(cell, "unreadable", f"{file} is no record; remove it and run again")
    if of != cell.spec_hash:
        return CellState(cell, "outdated", "recorded under another spec; the next run trains it again")
    return CellState(cell, status, str(record.get("message") or ""))


def _unrecorded(cell: Cell, log: Path) -> CellState:
    """A log without a record: the try that wrote it goes on, or ended without one."""
    if not log.is_file():
        return CellState(cell, "missing")
    return CellState(cell, "started", f"{last_words(log)} ({log})")
