"""SIGTERM, SIGUSR1 and SIGINT end an attempt at the next safe place: a checkpoint is saved, Snakemake tries again."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from bench.errors import TransientError

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
STOPPED = "stopped by"  # how the message of such an end begins


class StopFlag:
    """`name`: the signal that asked to stop, if any."""

    def __init__(self) -> None:
        self.name: str | None = None

    def set(self, number: int, _frame: FrameType | None) -> None:
        self.name = signal.Signals(number).name

    def check(self, where: str) -> None:
        """Call it where nothing is lost by stopping. Raises TransientError if a signal has come."""
        if self.name is not None:
            raise TransientError(f"{STOPPED} {self.name} {where}: what is saved stays, try again to go on")


@contextmanager
def handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Inside, the signals that ask to stop go to `handler`."""
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


@contextmanager
def stop_flag() -> Iterator[StopFlag]:
    """A flag that is set by the signals that come while the block runs."""
    flag = StopFlag()
    with handled_by(flag.set):
        yield flag
