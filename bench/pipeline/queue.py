"""What Slurm is doing with each cell, from squeue. Without Slurm on this machine: nothing, at once."""

from __future__ import annotations

import getpass
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.config.cell import Cell

FORMAT = "%i|%T|%N|%V|%S|%r|%Z|%k"  # id, state, nodes, submitted, started, reason, working folder, comment
SECONDS = 20


@dataclass(frozen=True)
class SlurmJob:
    """One job in the queue. `since`: when it started, or when it was submitted while it waits."""

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


def comment_of(cell: Cell) -> str:
    """The comment that the executor plugin gives the job of a cell: its rule's name and its wildcards."""
    rule = comment_of_rule(f"train_{cell.task.name}")
    return f"{rule}_wildcards_{cell.method.name}_{cell.budget_name}_{cell.seed}"


def comment_of_rule(name: str) -> str:
    """That of a rule without wildcards."""
    return f"rule_{name}"


def slurm_jobs(folder: Path) -> dict[str, SlurmJob]:
    """Jobs of this user that were submitted from `folder`, by comment; of two with one comment the running one."""
    if shutil.which("squeue") is None:
        return {}
    command = ["squeue", "--noheader", f"--format={FORMAT}", f"--user={getpass.getuser()}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return {}
    jobs: dict[str, SlurmJob] = {}
    for line in done.stdout.splitlines():
        fields = line.split("|", FORMAT.count("|"))
        if len(fields) <= FORMAT.count("|") or Path(fields[6]) != folder:
            continue
        job = SlurmJob(fields[0], fields[1], fields[2], fields[4] if fields[1] == "RUNNING" else fields[3], fields[5])
        if fields[7] not in jobs or job.state == "RUNNING":
            jobs[fields[7]] = job
    return jobs
