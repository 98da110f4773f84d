"""SIGTERM, SIGUSR1 and SIGINT end a training after the step that runs, with a checkpoint."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopFlag:
    """Which signal asked to stop, if any."""

    def __init__(self) -> None:
        self.name: str | None = None

    def set(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 (a signal handler)
        self.name = signal.Signals(number).name


@contextmanager
def stop_flag() -> Iterator[StopFlag]:
    """The flag that the signals set, while the block runs."""
    flag = StopFlag()
    numbers = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    before = {number: signal.signal(number, flag.set) for number in numbers}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
