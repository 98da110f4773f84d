"""The GPUs that a cell works on: of those that its process sees, some that no other cell of this machine holds.

A GPU is held by a lock (flock) on a file of this machine, which is called by its UUID: whatever variable or container
names it otherwise, it is the same lock. The kernel releases it when the process ends, however that happens. A Slurm job
may run several cells at once on its GPUs, so they are locked there too, but each job has locks of its own: where Slurm
gives a GPU to two jobs, they share it on purpose.

Cells of a study with `cells_per_gpu` share a GPU: each locks the GPU's file shared, and one of that many further files,
the places of the GPU. The file says how many places there are, so that processes that count otherwise keep off, as do
those that want the whole GPU and lock its file for themselves. With `cells_per_gpu: auto` a process counts the places
that are large enough for its own cell. The first one on a GPU decides how many it has; another one takes a place there
if it would have counted as many or more, because then its cell needs no more than such a place holds.
"""

from __future__ import annotations

import fcntl
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError
from bench.log import waiting
from bench.nvml import CELLS_ON_GPU, VARIABLE, Gpu, visible_gpus

POLL = 1.0  # seconds
_ELSEWHERE = "GPUs are shared out by file locks there: set TMPDIR to a folder of this machine that you can write"


Number = int | Callable[[Gpu], int]


@dataclass(frozen=True)
class _Places:
    """How many places a process counts on a GPU; auto: by what its own cell needs."""

    number: int
    auto: bool

    @property
    def said(self) -> str:
        """What the file of the GPU says, if this process decides."""
        return f"auto {self.number}" if self.auto else str(self.number)

    def of(self, said: str) -> int:
        """How many places the GPU has whose file says that; 0 if this process may take none of them."""
        if not self.auto:
            return self.number if said == self.said else 0
        kind, _, number = said.partition(" ")
        return int(number) if kind == "auto" and int(number) <= self.number else 0


@contextmanager
def hold_gpus(count: int, *, places: Number = 1, at_once: Number = 1) -> Iterator[list[str]]:
    """Wait until `count` GPUs are free, and let this process see only these while the block runs.

    places: how many processes may hold a GPU at the same time, if all of them say the same number; or what counts them
    on a GPU by what this process needs of it. Under Slurm it is 1: there one job trains several cells. at_once: how
    many cells this process trains on a GPU at the same time. Inside, `cells_on_gpu` tells from both how many cells
    could share the GPU.

    Yields their UUIDs; an empty list if `count` is 0 or the machine has no GPU: the CPU does the work then. Enter it
    before torch is imported, which reads CUDA_VISIBLE_DEVICES once. Raises BenchError if the machine has GPUs, but
    fewer than `count`, or if its driver does not answer.
    """
    if _slurm_job() is not None:
        places = 1
    gpus = visible_gpus() if count else []
    if gpus and len(gpus) < count:
        names = ", ".join(gpu.uuid for gpu in gpus)
        raise BenchError(f"the cell asks for {count} GPUs, here are {len(gpus)}: {names}")
    counted = {gpu.uuid: _Places(_of(places, gpu), auto=not isinstance(places, int)) for gpu in gpus}
    with ExitStack() as stack:
        held = _wait_for(counted, count, stack) if gpus else {}
        if held or count == 0:
            _set(VARIABLE, ",".join(held), stack)
        sharing = [held[gpu.uuid] * _of(at_once, gpu) for gpu in gpus if gpu.uuid in held]
        _set(CELLS_ON_GPU, str(max(sharing, default=1)), stack)
        yield list(held)


def _of(number: Number, gpu: Gpu) -> int:
    return number if isinstance(number, int) else number(gpu)


def _slurm_job() -> str | None:
    return os.environ.get("SLURM_JOB_ID")


def _wait_for(gpus: Mapping[str, _Places], count: int, stack: ExitStack) -> dict[str, int]:
    """The first `count` of `gpus` that have a free place, locked until `stack` closes, and how many places each has."""
    folder = Path(tempfile.gettempdir()) / f"rankbench-gpus-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if (job := _slurm_job()) is not None:
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


def _lock_free(gpus: Mapping[str, _Places], count: int, folder: Path, stack: ExitStack) -> dict[str, int]:
    """Lock a place of each of `count` GPUs, and say how many places each has. If fewer have a free one, locks none.

    The first place of every GPU is tried before the second of any, so that cells spread over the GPUs.
    """
    locked: dict[str, int] = {}
    with ExitStack() as attempt:
        for place in range(1, max(places.number for places in gpus.values()) + 1):
            for name, places in gpus.items():
                if len(locked) < count and name not in locked:
                    file = folder / name.replace("/", "_")
                    if number := _lock_place(file, place, places, attempt):
                        locked[name] = number
        if len(locked) < count:
            return {}  # leaving the block releases what was locked
        stack.push(attempt.pop_all())
    return locked


def _lock_place(file: Path, place: int, places: _Places, stack: ExitStack) -> int:
    """Lock `file` shared and the file of one of its places until `stack` closes, or `file` alone for the only place.

    Returns how many places there are, 0 if this one is not free.
    """
    if places.number == 1:
        return int(place == 1 and _lock(file, stack))
    with ExitStack() as attempt:
        with ExitStack() as first:
            if _lock(file, first):  # nobody holds it: this process decides how many places there are
                file.write_text(places.said)
        # Another process may come between the two locks. It decides then, with the same rules.
        if not _lock(file, attempt, fcntl.LOCK_SH):
            return 0
        number = places.of(file.read_text())
        if place > number or not _lock(file.with_name(f"{file.name}.place-{place}"), attempt):
            return 0
        stack.push(attempt.pop_all())
    return number


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
