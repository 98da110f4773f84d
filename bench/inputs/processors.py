"""On how many processors rows are prepared. Snakemake asks at its start, so nothing slow is imported here."""

from __future__ import annotations

import os


def allowed_processors() -> int:
    """The processors that this process may use: those that the system gives it, and Slurm's share of a job."""
    given = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    of_job = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return min(given, int(of_job)) if of_job.isdecimal() and int(of_job) else given


def use_processors(count: int) -> None:
    """Let the tokenizers of this process work on so many processors. Call it before the first one is used."""
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if count > 1 else "false"
    os.environ["RAYON_NUM_THREADS"] = str(count)
