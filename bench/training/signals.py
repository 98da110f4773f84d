"""SIGTERM, SIGUSR1 and SIGINT end a try at the next safe place: a checkpoint is saved, Snakemake starts it again."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from bench.errors import TransientError

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class StopFlag:
    """Which signal asked to stop, if any."""

    def __init__(self) -> None:
        self.name: str | None = None

    def set(self, number: int, _frame: FrameType | None) -> None:
        self.name = signal.Signals(number).name

    def check(self, where: str) -> None:
        """A place where nothing is lost by stopping. Raises TransientError if a signal came."""
        if self.name is not None:
            raise TransientError(f"stopped by {self.name} {where}: what is saved stays, try again to go on")


@contextmanager
def handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """The signals that ask to stop go to `handler` while the block runs."""
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


@contextmanager
def stop_flag() -> Iterator[StopFlag]:
    """The flag that the signals set, while the block runs."""
    flag = StopFlag()
    with handled_by(flag.set):
        yield flag
