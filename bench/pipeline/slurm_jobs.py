"""This user's jobs in Slurm's queue, and which cells each of them trains."""

from __future__ import annotations

import getpass
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.config.cell import Cell
from bench.config.resolve import ResolvedStudy
from bench.pipeline.groups import groups_of

# What squeue prints per job: id, state, nodes, submitted, started, reason, comment, and last, since its name may hold
# anything, the working folder.
SQUEUE_FORMAT = "%i|%T|%N|%V|%S|%r|%k|%Z"
SQUEUE_SECONDS = 20  # until squeue is given up


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


def jobs_of_cells(study: ResolvedStudy, folder: Path) -> dict[str, SlurmJob]:
    """By the id of each cell and trial of `study` that has one, its job that was submitted from `folder`.

    The job of a group is the job of each cell in it.
    """
    jobs = slurm_jobs(folder)
    if not jobs:
        return {}
    trials = [trial for of_group in study.trials.values() for trial in of_group]
    rungs = range(1, len(study.study.tuning.rungs) + 1) if study.study.tuning else range(0)
    comments = {cell.id: _comments_of(cell, rungs) for cell in (*study.cells, *trials)}
    for group in (*groups_of(study, study.cells), *groups_of(study, trials)):
        shared = [f"rule_{group.name}", *(f"rule_{group.rungs_name}_wildcards_{rung}" for rung in rungs)]
        for cell in group.cells:
            comments[cell.id] += shared
    found = {name: next((jobs[text] for text in texts if text in jobs), None) for name, texts in comments.items()}
    return {name: job for name, job in found.items() if job is not None}


def slurm_jobs(folder: Path) -> Mapping[str, SlurmJob]:
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


def _comments_of(cell: Cell, rungs: range) -> list[str]:
    """The comments that Snakemake's Slurm plugin gives the jobs of a cell: its rule's name and its wildcards."""
    task, names = cell.task.name, f"{cell.method.name}_{cell.budget_name}"
    if cell.trial is None:
        return [f"rule_train_{task}_wildcards_{names}_{cell.seed}"]
    names += f"_{cell.trial.point}_{cell.seed}"
    to_rungs = [f"rule_rung_{task}_wildcards_{names}_{rung}" for rung in rungs]
    return [f"rule_trial_{task}_wildcards_{names}", *to_rungs]
