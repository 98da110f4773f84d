"""The GPUs that a cell works on: of those that its process sees, some that no other cell of this machine holds.

A GPU is held by a lock (flock) on a file of this machine, which is called by its UUID: whatever variable or container
names it otherwise, it is the same lock. The kernel releases it when the process ends, however that happens. A Slurm job
may run several cells at once on its GPUs, so they are locked there too, but each job has locks of its own: where Slurm
gives a GPU to two jobs, they share it on purpose.
"""

from __future__ import annotations

import fcntl
import os
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.errors import BenchError
from bench.log import waiting
from bench.nvml import VARIABLE, visible_gpus

POLL = 1.0  # seconds
_ELSEWHERE = "GPUs are shared out by file locks there: set TMPDIR to a folder of this machine that you can write"


@contextmanager
def hold_gpus(count: int) -> Iterator[list[str]]:
    """Wait until `count` GPUs are free, and let this process see only these while the block runs.

    Yields their UUIDs; an empty list if `count` is 0 or the machine has no GPU: the CPU does the work then. Enter it
    before torch is imported, which reads CUDA_VISIBLE_DEVICES once. Raises BenchError if the machine has GPUs, but
    fewer than `count`, or if its driver does not answer.
    """
    gpus = [gpu.uuid for gpu in visible_gpus()] if count else []
    if gpus and len(gpus) < count:
        raise BenchError(f"the cell asks for {count} GPUs, here are {len(gpus)}: {', '.join(gpus)}")
    with ExitStack() as stack:
        if count == 0:
            _show_only([], stack)
        elif gpus:
            gpus = _wait_for(gpus, count, stack)
            _show_only(gpus, stack)
        yield gpus


def _wait_for(gpus: Sequence[str], count: int, stack: ExitStack) -> list[str]:
    """The first `count` of `gpus` that are free, locked until `stack` closes."""
    folder = Path(tempfile.gettempdir()) / f"rankbench-gpus-{os.getuid()}"
    job = os.environ.get("SLURM_JOB_ID")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if job is not None:
            folder = folder / f"job-{job}"
            folder.mkdir(exist_ok=True)
    except OSError as error:
        raise BenchError(f"{folder}: {error.strerror}; {_ELSEWHERE}") from error
    locked = _lock_free(gpus, count, folder, stack)
    if not locked:
        with waiting(f"{count} of the GPUs {', '.join(gpus)}"):
            while not locked:
                # random, so that two jobs that each lock what the other lacks do not collide at every attempt
                time.sleep(POLL * random.uniform(0.5, 1.5))
                locked = _lock_free(gpus, count, folder, stack)
    return locked


def _lock_free(gpus: Sequence[str], count: int, folder: Path, stack: ExitStack) -> list[str]:
    """Lock `count` GPUs that no other process holds. Returns an empty list, and locks none, if fewer are free."""
    locked: list[str] = []
    with ExitStack() as attempt:
        for name in gpus:
            if len(locked) < count and _lock(folder / name.replace("/", "_"), attempt):
                locked.append(name)
        if len(locked) < count:
            return []  # leaving the block releases what was locked
        stack.push(attempt.pop_all())
    return locked


def _lock(file: Path, stack: ExitStack) -> bool:
    """Lock `file` until `stack` closes. Returns False if another process has locked it.

    Raises BenchError if it cannot be locked at all, which must not look like a GPU that is never free.
    """
    try:
        stream = file.open("a")
    except OSError as error:
        raise BenchError(f"{file}: {error.strerror}; {_ELSEWHERE}") from error
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        stream.close()
        if isinstance(error, BlockingIOError):
            return False
        raise BenchError(f"{file}: cannot be locked ({error.strerror}); {_ELSEWHERE}") from error
    stack.callback(stream.close)
    return True


def _show_only(names: Sequence[str], stack: ExitStack) -> None:
    """Set CUDA_VISIBLE_DEVICES until `stack` closes."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = ",".join(names)
    stack.callback(_restore, before)


def _restore(before: str | None) -> None:
    if before is None:
        del os.environ[VARIABLE]
    else:
        os.environ[VARIABLE] = before
