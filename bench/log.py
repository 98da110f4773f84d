"""How far a training is: a bar on a terminal, a plain line every now and then elsewhere."""

from __future__ import annotations

import math
import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

IMPORTED = time.monotonic()
WAITED = [0.0]  # seconds for another process: no cell's time
WIDTH = 30
TOLD = deque[str](maxlen=40)  # the last lines, for the record of a failure


def say(line: str) -> None:
    """One line to the log (stderr)."""
    TOLD.append(line)
    print(line, file=sys.stderr, flush=True)


def process_age() -> float:
    """Seconds since this process began, imports included, by a clock that nobody sets; since this import elsewhere.
    What it spent `waiting` is left out."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError):
        age = time.monotonic() - IMPORTED
    return age - WAITED[0]


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Around a wait for another process."""
    began = time.monotonic()
    say(f"waiting for {what}")
    try:
        yield
    finally:
        WAITED[0] += time.monotonic() - began


class ProgressBar:
    """`total` steps of `what`. A bar is drawn ten times a second at the most, a line written every `every` seconds;
    neither where it is not `shown`."""

    def __init__(
        self, what: str, total: int, *, every: float = 30.0, stream: TextIO | None = None, shown: bool = True
    ) -> None:
        self._what, self._total = what, total
        self._stream = stream or sys.stderr
        self._bar = self._stream.isatty()
        self._every = math.inf if not shown else 0.1 if self._bar else every
        self._last = self._began = time.monotonic()
        self._first: int | None = None

    def show(self, done: int) -> None:
        """`done` steps are made."""
        now = time.monotonic()
        if self._first is None:
            self._first = done
        if now - self._last < self._every:
            return
        self._last = now
        speed = (done - self._first) / (now - self._began)
        left = f"{(self._total - done) / speed:.0f} s left" if speed > 0 else ""
        if self._bar:
            filled = WIDTH * done // max(1, self._total)
            bar = "#" * filled + "-" * (WIDTH - filled)
            self._stream.write(f"\r{self._what} [{bar}] {done}/{self._total} {speed:.1f}/s {left} ")
            self._stream.flush()
        else:
            say(f"{self._what}: {done} of {self._total}, {speed:.1f}/s, {left}")

    def close(self) -> None:
        if self._bar:
            self._stream.write("\r" + " " * (WIDTH + len(self._what) + 50) + "\r")
            self._stream.flush()
