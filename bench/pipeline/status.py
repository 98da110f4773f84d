"""The state of each cell of a study: from its record, from Slurm's queue, from its log."""

from __future__ import annotations

import getpass
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.config.cell import Cell
from bench.config.resolve import ResolvedStudy
from bench.errors import BenchError
from bench.files import digest
from bench.paths import StudyPaths
from bench.pipeline.failures import MOST_SHOWN, last_message
from bench.pipeline.study import Pipeline, groups_of

FAILURES = ("oom", "diverged", "failed")
# What squeue prints per job: id, state, nodes, submitted, started, reason, comment, and last, since its name may hold
# anything, the working folder.
SQUEUE_FORMAT = "%i|%T|%N|%V|%S|%r|%k|%Z"
LARGEST = 100_000_000  # bytes of a file whose SHA-256 is taken unless that of all is wanted
SQUEUE_SECONDS = 20  # until squeue is given up


@dataclass(frozen=True)
class CellState:
    """`name`: a record's status (ok, oom, ...), or outdated, unreadable, damaged, queued, running, started, missing."""

    cell: Cell
    name: str
    detail: str = ""


@dataclass(frozen=True)
class SlurmJob:
    """One job in Slurm's queue. `since`: when it started, or, while it waits, when it was submitted."""

    id: str
    state: str
    node: str
    since: str
    reason: str

    def __str__(self) -> str:
        if self.state == "RUNNING":
            return f"running on {self.node} since {self.since} (job {self.id})"
        reason = f", {self.reason}" if self.reason not in ("", "None") else ""
        return f"{self.state.lower()} since {self.since} (job {self.id}{reason})"


def cell_states(study: ResolvedStudy, results: Path, *, largest: int | None = LARGEST) -> list[CellState]:
    """The state of every cell, in the study's order. The job of a group is the job of each cell in it.

    A record is compared with its checksums, and each file beside it that has at most `largest` bytes with its SHA-256
    (None: every file).
    """
    jobs = slurm_jobs(Path.cwd())
    groups = groups_of(study.cells, study.study.cells_per_job)
    comment_of_group = {cell.id: _comment_of_rule(group.name) for group in groups for cell in group.cells}
    paths = StudyPaths(results, study.name)
    states = []
    for cell in study.cells:
        job = jobs.get(_comment_of(cell)) or jobs.get(comment_of_group.get(cell.id, ""))
        recorded = _recorded(cell, paths.cell(cell.id).record, largest)
        if recorded is not None:
            states.append(recorded)
        elif job is not None:
            states.append(CellState(cell, "running" if job.state == "RUNNING" else "queued", str(job)))
        else:
            states.append(_unrecorded(cell, paths.log(cell.id)))
    return states


def report_unscored(pipeline: Pipeline) -> None:
    """Print, at the end of a run, each cell whose record says that it ended without a score, and what to do."""
    files = [(cell, pipeline.paths.cell(cell.id).record) for cell in pipeline.cells]
    states = [state for cell, file in files if (state := _recorded(cell, file, largest=0)) and state.name in FAILURES]
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

    The next run then trains those cells again, and the messages of the failures are kept.
    """
    renamed = []
    for state in states:
        if state.name in FAILURES:
            cell = paths.cell(state.cell.id)
            renamed.append(cell.record.rename(cell.free_set_aside(state.name)))
    return renamed


def slurm_jobs(folder: Path) -> dict[str, SlurmJob]:
    """This user's jobs that were submitted from `folder`, by their comments; empty where Slurm is not installed.

    Of two jobs with one comment the running one is returned: the other is a requeued or a second attempt.
    """
    if shutil.which("squeue") is None:
        return {}
    command = ["squeue", "--noheader", f"--format={SQUEUE_FORMAT}", f"--user={getpass.getuser()}"]
    try:
        squeue = subprocess.run(command, capture_output=True, text=True, timeout=SQUEUE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return {}
    jobs: dict[str, SlurmJob] = {}
    separators = SQUEUE_FORMAT.count("|")
    for line in squeue.stdout.splitlines():
        fields = line.split("|", separators)
        if len(fields) <= separators:
            continue
        job_id, state, node, submitted, started, reason, comment, working_folder = fields
        if Path(working_folder) != folder:
            continue
        job = SlurmJob(job_id, state, node, started if state == "RUNNING" else submitted, reason)
        if comment not in jobs or state == "RUNNING":
            jobs[comment] = job
    return jobs


def _comment_of(cell: Cell) -> str:
    """The comment that Snakemake's Slurm plugin gives the job of a cell: its rule's name and its wildcards."""
    rule = _comment_of_rule(f"train_{cell.task.name}")
    return f"{rule}_wildcards_{cell.method.name}_{cell.budget_name}_{cell.seed}"


def _comment_of_rule(name: str) -> str:
    """The comment of a job whose rule has no wildcards."""
    return f"rule_{name}"


def _recorded(cell: Cell, file: Path, largest: int | None) -> CellState | None:
    """The state that the record in `file` tells; None if there is no record."""
    from bench.records.io import read_record  # late: Snakemake reads this module each time it parses its rules

    if not file.is_file():
        return None
    try:
        record = read_record(file)
    except BenchError as error:
        return CellState(cell, "unreadable", str(error))
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
        if not file.is_file():
            return f"{file} is missing"
        try:
            small = largest is None or file.stat().st_size <= largest
            if small and digest(file) != sha256:
                return f"{file} does not have the SHA-256 that its record has"
        except OSError as error:
            return f"{file}: {error.strerror}"
    return ""


def _unrecorded(cell: Cell, log: Path) -> CellState:
    """A log without a record is that of an attempt that still runs, or that ended without a record."""
    if not log.is_file():
        return CellState(cell, "missing")
    return CellState(cell, "started", f"{last_message(log)} ({log})")
