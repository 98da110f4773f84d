"""What Slurm gave a job and what the job used of it: the job's own `scontrol show job`, as `seff` would sum it up."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
from datetime import datetime
from typing import Any

SECONDS = 20  # the controller may be slow; a record never waits longer
FACTORS = {"K": 1 / 1024, "M": 1, "G": 1024, "T": 1024**2}


def slurm_use() -> dict[str, Any] | None:
    """The job that this process runs in; None outside Slurm, and only the environment's words where Slurm is silent.

    Memory in MiB (used: the largest resident set of this process or of a child so far), times in seconds (used: since
    the job started; queued: between submission, or the last requeue, and start).
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return None
    found = {
        "job": job,
        "node": os.environ.get("SLURMD_NODENAME"),
        "partition": os.environ.get("SLURM_JOB_PARTITION"),
        "requeues": int(os.environ.get("SLURM_RESTART_COUNT") or 0),
        "gpus": os.environ.get("SLURM_JOB_GPUS") or os.environ.get("CUDA_VISIBLE_DEVICES"),
        "memory_used_mib": _resident_mib(),
    }
    return {**found, **parse_job(_shown(job), datetime.now())}


def parse_job(shown: str, now: datetime) -> dict[str, Any]:
    """Asked, queued and used, from one line of `scontrol show job --oneliner`; fields that are not there are left out.

    Slurm writes local times, so `now` is local.
    """
    fields = dict(part.split("=", 1) for part in shown.split() if "=" in part)
    known: dict[str, Any] = {}
    started, submitted = (_moment(fields.get(name, "")) for name in ("StartTime", "SubmitTime"))
    eligible = _moment(fields.get("EligibleTime", "")) or submitted
    if started:
        known["seconds_used"] = round((now - started).total_seconds())
        if eligible:
            known["seconds_queued"] = round((started - eligible).total_seconds())
    limit = _seconds(fields.get("TimeLimit", ""))
    if limit is not None:
        known["seconds_asked"] = limit
    resources = fields.get("TRES") or fields.get("ReqTRES") or ""
    if memory := re.search(r"mem=([\d.]+)([KMGT])", resources):
        known["memory_asked_mib"] = round(float(memory[1]) * FACTORS[memory[2]])
    if resources:
        known["resources"] = resources
    return known


def _shown(job: str) -> str:
    if shutil.which("scontrol") is None:
        return ""
    command = ["scontrol", "show", "job", "--oneliner", job]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _resident_mib() -> int:
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) // 1024


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:  # Unknown, N/A
        return None


def _seconds(text: str) -> int | None:
    """'1-02:03:04' or '02:03:04'; None for UNLIMITED."""
    found = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d+):(\d+)", text)
    if not found:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
