"""Shows a run while it goes on: a picture that is drawn again each second on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from bench.progress.lines import again, changes, failures
from bench.progress.picture import picture
from bench.progress.state import Snapshot

INTERVAL = 1.0  # seconds between two looks
SHARE = 0.1  # of the time that looking may take, on a file system that is slow


def is_terminal(stream: TextIO) -> bool:
    """Whether a picture can be drawn again in place."""
    return stream.isatty() and not Console(file=stream).is_dumb_terminal


class Reporter:
    """Shows what `poll` finds on `stream`, from `start` until `stop`. `last`: what it found the last time."""

    def __init__(self, poll: Callable[[], Snapshot], stream: TextIO, *, color: bool = True) -> None:
        self._poll, self._stream = poll, stream
        self.last: Snapshot | None = None
        self._ended, self._lock = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._repeat, daemon=True)
        self._live: Live | None = None
        if is_terminal(stream):
            console = Console(stderr=stream is sys.stderr, no_color=True if not color else None, highlight=False)
            self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")

    def start(self) -> None:
        if self._live:
            self._live.start()
        self.look()
        self._thread.start()

    def stop(self) -> None:
        """Show the last state. Afterwards the terminal is as it was."""
        if self._ended.is_set():
            return
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()
        self.look()
        if self._live:
            self._live.stop()

    def wait(self, seconds: float) -> None:
        self._ended.wait(seconds)

    def look(self) -> None:
        """Look at the run, and show what is new. A file system that does not answer now may do so the next time."""
        with self._lock, suppress(OSError):
            now = self._poll()
            if self._live:
                self.write(failures(self.last, now), "red")
                self.write(again(self.last, now))
                self._live.update(picture(now, *self._live.console.size), refresh=True)
            else:
                self.write(changes(self.last, now))
            self.last = now

    def write(self, lines: Iterable[str], style: str = "") -> None:
        """Write lines above the picture; where there is none, each with the time."""
        for line in lines:
            if self._live:
                self._live.console.print(Text(line, style), soft_wrap=True)
            else:
                print(f"{time.strftime('%H:%M:%S')} {line}", file=self._stream, flush=True)

    def _repeat(self) -> None:
        pause = INTERVAL
        while not self._ended.wait(pause):
            began = time.monotonic()
            self.look()
            pause = max(INTERVAL, (time.monotonic() - began) / SHARE)
