"""Sends a training's numbers to the process of a tracker and never waits for it.

A tracker that is slow, stuck or dead loses lines of its own view; the training does not notice.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.paths import StudyPaths

logger = logging.getLogger(__name__)
WAITING = 8 * 2**20  # bytes that may wait for the tracker before it counts as stuck
PATIENCE = 20.0  # seconds that it gets to end


class Feed:
    """Call it with what the tracker should show. The first call starts the tracker's process, which prints to `log`."""

    def __init__(self, command: Sequence[str], log: Path, patience: float = PATIENCE) -> None:
        self._command, self._log, self._patience = list(command), log, patience
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe = -1
        self._waiting = bytearray()
        self._lost = False

    def __call__(self, message: Mapping[str, Any]) -> None:
        if self._lost:
            return
        try:
            self._start()
            self._waiting += json.dumps(message).encode() + b"\n"
            self._send()
        except OSError as error:
            self._lose(str(error))
        if len(self._waiting) > WAITING:
            self._lose("it takes nothing any more")

    def close(self) -> None:
        """Send what still waits and let the tracker end; after `patience` seconds it is killed."""
        if self._process is None:
            return
        end = time.monotonic() + self._patience
        with contextlib.suppress(OSError):
            while self._waiting and not self._lost and (left := end - time.monotonic()) > 0:
                select.select([], [self._pipe], [], left)
                self._send()
        with contextlib.suppress(OSError):
            os.close(self._pipe)
        try:
            self._process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._lose("it did not end")
            self._process.kill()
            self._process.wait()
        self._process = None

    def _start(self) -> None:
        if self._process is not None:
            return
        self._log.parent.mkdir(parents=True, exist_ok=True)
        read, self._pipe = os.pipe()
        os.set_blocking(self._pipe, False)
        try:
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    self._command, stdin=read, stdout=log, stderr=log, start_new_session=True
                )
        finally:
            os.close(read)

    def _send(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._waiting:
                del self._waiting[: os.write(self._pipe, self._waiting[: 64 * 1024])]

    def _lose(self, why: str) -> None:
        if not self._lost:
            logger.warning(
                "the tracker is lost (%s; see %s); the training goes on, its curve is complete", why, self._log
            )
        self._lost = True
        self._waiting.clear()


@contextlib.contextmanager
def feed(tracker: str | None, paths: StudyPaths, run: str) -> Iterator[Feed | None]:
    """A feed to `tracker` for the cell `run` of a study; None where no tracker is asked for."""
    if tracker is None:
        yield None
        return
    command = [sys.executable, "-m", "bench.trackers.sink", tracker, str(paths.tracker(tracker)), paths.study, run]
    tracker_feed = Feed(command, paths.tracker_log(run))
    try:
        yield tracker_feed
    finally:
        tracker_feed.close()
