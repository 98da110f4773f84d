"""The GPUs that a cell works on: of those that its process sees, some that no other cell of this machine holds.

A GPU is held by a lock (flock) on a file of this machine, which is called by its UUID: whatever variable or container
names it otherwise, it is the same lock. The kernel releases it when the process ends, however that happens. A Slurm job
may run several cells at once on its GPUs, so they are locked there too, but each job has locks of its own: where Slurm
gives a GPU to two jobs, they share it on purpose.

Cells of a study with `cells_per_gpu` share a GPU: each locks the GPU's file shared, and one of that many further files,
the places of the GPU. The file says how many places there are, so that processes that count otherwise keep off, as do
those that want the whole GPU and lock its file for themselves.
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
from bench.nvml import CELLS_ON_GPU, VARIABLE, visible_gpus

POLL = 1.0  # seconds
_ELSEWHERE = "GPUs are shared out by file locks there: set TMPDIR to a folder of this machine that you can write"


@contextmanager
def hold_gpus(count: int, *, places: int = 1, at_once: int = 1) -> Iterator[list[str]]:
    """Wait until `count` GPUs are free, and let this process see only these while the block runs.

    places: how many processes may hold a GPU at the same time, if all of them say the same number. Under Slurm it is 1:
    there one job trains several cells. at_once: how many cells this process trains on a GPU at the same time. Inside,
    `cells_on_gpu` tells from both how many cells could share the GPU.

    Yields their UUIDs; an empty list if `count` is 0 or the machine has no GPU: the CPU does the work then. Enter it
    before torch is imported, which reads CUDA_VISIBLE_DEVICES once. Raises BenchError if the machine has GPUs, but
    fewer than `count`, or if its driver does not answer.
    """
    if _slurm_job() is not None:
        places = 1
    gpus = [gpu.uuid for gpu in visible_gpus()] if count else []
    if gpus and len(gpus) < count:
        raise BenchError(f"the cell asks for {count} GPUs, here are {len(gpus)}: {', '.join(gpus)}")
    with ExitStack() as stack:
        if gpus:
            gpus = _wait_for(gpus, count, places, stack)
        if gpus or count == 0:
            _set(VARIABLE, ",".join(gpus), stack)
        _set(CELLS_ON_GPU, str(places * at_once if gpus else 1), stack)
        yield gpus


def _slurm_job() -> str | None:
    return os.environ.get("SLURM_JOB_ID")


def _wait_for(gpus: Sequence[str], count: int, places: int, stack: ExitStack) -> list[str]:
    """The first `count` of `gpus` that have a free place, locked until `stack` closes."""
    folder = Path(tempfile.gettempdir()) / f"rankbench-gpus-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if (job := _slurm_job()) is not None:
            folder = folder / f"job-{job}"
            folder.mkdir(exist_ok=True)
    except OSError as error:
        raise BenchError(f"{folder}: {error.strerror}; {_ELSEWHERE}") from error
    locked = _lock_free(gpus, count, places, folder, stack)
    if not locked:
        with waiting(f"{count} of the GPUs {', '.join(gpus)}"):
            while not locked:
                # random, so that two jobs that each lock what the other lacks do not collide at every attempt
                time.sleep(POLL * random.uniform(0.5, 1.5))
                locked = _lock_free(gpus, count, places, folder, stack)
    return locked


def _lock_free(gpus: Sequence[str], count: int, places: int, folder: Path, stack: ExitStack) -> list[str]:
    """Lock a place of each of `count` GPUs. Returns an empty list, and locks none, if fewer have a free one.

    The first place of every GPU is tried before the second of any, so that cells spread over the GPUs.
    """
    locked: list[str] = []
    with ExitStack() as attempt:
        for place in range(1, places + 1):
            for name in gpus:
                file = folder / name.replace("/", "_")
                free = len(locked) < count and name not in locked
                if free and (_lock(file, attempt) if places == 1 else _lock_place(file, place, places, attempt)):
                    locked.append(name)
        if len(locked) < count:
            return []  # leaving the block releases what was locked
        stack.push(attempt.pop_all())
    return locked


def _lock_place(file: Path, place: int, places: int, stack: ExitStack) -> bool:
    """Lock `file` shared and the file of one of its `places` until `stack` closes. Returns False if it is not free."""
    with ExitStack() as attempt:
        with ExitStack() as first:
            if _lock(file, first):  # nobody holds it: this process decides how many places there are
                file.write_text(str(places))
        # Another process may come between the two locks. It decides then, with the same rules.
        if not _lock(file, attempt, fcntl.LOCK_SH) or file.read_text() != str(places):
            return False
        if not _lock(file.with_name(f"{file.name}.place-{place}"), attempt):
            return False
        stack.push(attempt.pop_all())
    return True


def _lock(file: Path, stack: ExitStack, kind: int = fcntl.LOCK_EX) -> bool:
    """Lock `file` until `stack` closes. Returns False if another process has locked it.

    Raises BenchError if it cannot be locked at all, which must not look like a GPU that is never free.
    """
    try:
        stream = file.open("a")
    except OSError as error:
        raise BenchError(f"{file}: {error.strerror}; {_ELSEWHERE}") from error
    try:
        fcntl.flock(stream, kind | fcntl.LOCK_NB)
    except OSError as error:
        stream.close()
        if isinstance(error, BlockingIOError):
            return False
        raise BenchError(f"{file}: cannot be locked ({error.strerror}); {_ELSEWHERE}") from error
    stack.callback(stream.close)
    return True


def _set(variable: str, value: str, stack: ExitStack) -> None:
    """Set a variable of the environment until `stack` closes."""
    before = os.environ.get(variable)
    os.environ[variable] = value
    stack.callback(_restore, variable, before)


def _restore(variable: str, before: str | None) -> None:
    if before is None:
        del os.environ[variable]
    else:
        os.environ[variable] = before
