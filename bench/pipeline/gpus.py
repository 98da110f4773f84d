"""Which GPUs a job works on: those that Slurm gave it; elsewhere, such that no other job of this machine holds.

A GPU is held by a lock on a file of this machine, which ends with the process however that ends.
"""

from __future__ import annotations

import fcntl
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.errors import BenchError
from bench.log import waiting

VARIABLE = "CUDA_VISIBLE_DEVICES"
NONE = ("", "-1", "NoDevFiles")
POLL = 1.0


@contextmanager
def hold_gpus(count: int) -> Iterator[list[str]]:
    """`count` GPUs, the only ones that this process sees while the block runs; waits until they are free.

    Empty where the machine shows none, or none are asked for: the CPU does the work. Raises BenchError where there are
    fewer than `count`. Call it before a library looks for GPUs.
    """
    there = visible_gpus() if count else []
    if there and len(there) < count:
        raise BenchError(f"the cell asks for {count} GPUs, here are {len(there)}: {', '.join(there)}")
    with ExitStack() as stack:
        if count == 0:
            _show([], stack)
        elif there:
            there = there[:count] if "SLURM_JOB_ID" in os.environ else _held(there, count, stack)
            _show(there, stack)
        yield there


def visible_gpus() -> list[str]:
    """Names of the GPUs that CUDA_VISIBLE_DEVICES lists, else of all that nvidia-smi knows."""
    listed = os.environ.get(VARIABLE)
    if listed is not None:
        return [name.strip() for name in listed.split(",") if name.strip() not in NONE]
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.split() if done.returncode == 0 else []


def _held(there: Sequence[str], count: int, stack: ExitStack) -> list[str]:
    """The first `count` of `there` that are free, locked until `stack` closes."""
    folder = Path(tempfile.gettempdir()) / f"rankbench-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    held = _free(there, count, folder, stack)
    if not held:
        with waiting(f"{count} of the GPUs {', '.join(there)}"):
            while not held:
                time.sleep(POLL * random.uniform(0.5, 1.5))  # two that hold what the other wants don't meet for ever
                held = _free(there, count, folder, stack)
    return held


def _free(there: Sequence[str], count: int, folder: Path, stack: ExitStack) -> list[str]:
    """`count` that no other process had locked, now locked; none where there are not so many."""
    held: list[str] = []
    with ExitStack() as tried:
        for name in there:
            if len(held) < count and _lock(folder / name.replace("/", "_"), tried):
                held.append(name)
        if len(held) < count:
            return []
        stack.push(tried.pop_all())
    return held


def _lock(file: Path, stack: ExitStack) -> bool:
    stream = file.open("a")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        stream.close()
        return False
    stack.callback(stream.close)
    return True


def _show(names: Sequence[str], stack: ExitStack) -> None:
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = ",".join(names)
    stack.callback(_restore, before)


def _restore(before: str | None) -> None:
    if before is None:
        del os.environ[VARIABLE]
    else:
        os.environ[VARIABLE] = before
