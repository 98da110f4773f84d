"""What a Slurm job requested and what it used, from `scontrol show job`: the figures that `seff` sums up afterwards."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
from datetime import datetime
from typing import Any

TIMEOUT = 20  # seconds; the controller may be slow, and a record is not worth a longer wait
MIB_PER_UNIT = {"K": 1 / 1024, "M": 1, "G": 1024, "T": 1024**2}


def slurm_use() -> dict[str, Any] | None:
    """The job that this process runs in, as JSON data; None outside Slurm.

    Memory is in MiB, times in seconds. `memory_used_mib` is the largest resident set so far of this process or of one
    of its children. `seconds_used` counts from the job's start, `seconds_queued` from its submission or last requeue
    until then. If Slurm does not answer, only what the environment variables say is there.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return None
    from_environment = {
        "job": job,
        "node": os.environ.get("SLURMD_NODENAME"),
        "partition": os.environ.get("SLURM_JOB_PARTITION"),
        "requeues": int(os.environ.get("SLURM_RESTART_COUNT") or 0),
        "gpus": os.environ.get("SLURM_JOB_GPUS") or os.environ.get("CUDA_VISIBLE_DEVICES"),
        "memory_used_mib": _resident_mib(),
    }
    return {**from_environment, **parse_job(_show_job(job), datetime.now())}


def parse_job(shown: str, now: datetime) -> dict[str, Any]:
    """What was requested, the time in the queue and the time used, from one line of `scontrol show job --oneliner`.

    What the line does not say is left out. `now` is in local time, as Slurm's times are.

    >>> parse_job("TimeLimit=01:00:00 TRES=cpu=1,mem=4G", datetime.now())
    {'seconds_requested': 3600, 'memory_requested_mib': 4096, 'resources': 'cpu=1,mem=4G'}
    """
    # Values never contain spaces, except those of fields that are not used here.
    fields = dict(part.split("=", 1) for part in shown.split() if "=" in part)
    use: dict[str, Any] = {}
    started, submitted = (_time(fields.get(name, "")) for name in ("StartTime", "SubmitTime"))
    eligible = _time(fields.get("EligibleTime", "")) or submitted  # a requeued job is eligible again later
    if started:
        use["seconds_used"] = round((now - started).total_seconds())
        if eligible:
            use["seconds_queued"] = round((started - eligible).total_seconds())
    limit = _seconds(fields.get("TimeLimit", ""))
    if limit is not None:
        use["seconds_requested"] = limit
    # Newer versions of Slurm write ReqTRES and AllocTRES in place of TRES.
    resources = fields.get("TRES") or fields.get("ReqTRES") or ""
    if memory := re.search(r"mem=([\d.]+)([KMGT])", resources):
        use["memory_requested_mib"] = round(float(memory[1]) * MIB_PER_UNIT[memory[2]])
    if resources:
        use["resources"] = resources
    return use


def _show_job(job: str) -> str:
    """One line about the job; empty if Slurm does not answer."""
    if shutil.which("scontrol") is None:
        return ""
    command = ["scontrol", "show", "job", "--oneliner", job]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _resident_mib() -> int:
    # Children count, too: a job of several cells trains each in a child process. Linux reports KiB.
    peaks_kib = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return max(peaks_kib) // 1024


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:  # "Unknown" or "N/A"
        return None


def _seconds(text: str) -> int | None:
    """Seconds of '1-02:03:04' (days first) or '02:03:04'; None for UNLIMITED."""
    match = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d+):(\d+)", text)
    if not match:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
