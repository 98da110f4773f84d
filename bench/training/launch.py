"""One cell in several processes: started together, told signals together, ended together."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

from bench.distributed import variables_of
from bench.errors import EXIT_TRY_AGAIN, BenchError
from bench.training.group import KILLED
from bench.training.signals import handled_by

GRACE = 60.0  # seconds that the others have, once one has ended
POLL = 0.2


def run_team(words: Sequence[str], size: int, gpus: Sequence[str]) -> int:
    """Run `bench WORDS` as `size` processes, each on one of `gpus` (empty: all on the CPU); the exit code of all.

    0: a record stands. Else that of the process that failed, not of those that then missed it. Raises BenchError.
    """
    if gpus and len(gpus) < size:
        raise BenchError(f"{size} processes need {size} GPUs, here are {len(gpus)}: {', '.join(gpus)}")
    command = [sys.executable, "-m", "bench.cli", *words]
    with TemporaryDirectory(prefix="bench-team-") as folder:
        members = []
        try:
            for rank in range(size):
                environment = {**os.environ, **variables_of(rank, size, Path(folder) / "meeting")}
                if gpus:
                    environment["CUDA_VISIBLE_DEVICES"] = gpus[rank]
                # a member whose standard input ends has lost its parent, and ends too
                members.append(subprocess.Popen(command, env=environment, stdin=subprocess.PIPE))
            with _passing_signals(members):
                _wait(members)
        finally:
            for member in members:
                member.kill()
    return _joint([member.wait() for member in members])


def _wait(members: Sequence[subprocess.Popen[bytes]]) -> None:
    """Until all have ended, or GRACE seconds after the first has: who still waits for it then waits for ever."""
    first: float | None = None
    while any(member.poll() is None for member in members):
        if first is None and any(member.returncode is not None for member in members):
            first = time.monotonic()
        if first is not None and time.monotonic() - first > GRACE:
            return
        time.sleep(POLL)


def _joint(codes: Sequence[int]) -> int:
    if 0 in codes:
        return 0
    told = [code if code >= 0 else KILLED - code for code in codes]
    return next((code for code in told if code != EXIT_TRY_AGAIN), EXIT_TRY_AGAIN)


@contextmanager
def _passing_signals(members: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Signals that ask to stop go to every process, which save where they are."""

    def send(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 (a signal handler)
        for member in members:
            member.send_signal(number)

    with handled_by(send):
        yield
