"""The latest values of a curve.jsonl that a training is still writing."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MOST_BYTES = 4_000_000  # of a curve that are read at once: what a long training wrote before anyone looked


@dataclass
class CurveTail:
    """What is known of the curve in `file`; `update` reads what was written since.

    Attributes:
        step: the latest step; 0 before the first block of lines.
        loss: of that step; None if it was not finite.
        ranks: the live ranks of each matrix, by the latest line that has them.
        rate: seconds per step, between the first and the latest look at the file that found new steps; None before.
            What stood in it at the first look may be days old, of an attempt that was interrupted.
    """

    file: Path
    step: int = 0
    loss: float | None = None
    ranks: tuple[int, ...] = ()
    rate: float | None = None
    _offset: int = 0
    _first: tuple[float, int] | None = None  # time of the file system in seconds, and the step
    _looked: bool = False
    _seen: float | None = None  # on this process's clock: that of the file system may be another machine's

    @property
    def age(self) -> float:
        """Seconds since the latest line was seen to be written; 0 before."""
        return 0.0 if self._seen is None else time.monotonic() - self._seen

    def update(self) -> None:
        """Read the lines that are complete. A file that became shorter, in a resumed training, is read anew."""
        looked, self._looked = self._looked, True
        try:
            with self.file.open("rb") as stream:
                size, written = stream.seek(0, 2), self.file.stat().st_mtime
                if size < self._offset:
                    self._offset, self._first, self.rate = 0, None, None
                stream.seek(max(self._offset, size - MOST_BYTES))
                data = stream.read()
        except OSError:
            return
        lines, _, rest = data.rpartition(b"\n")
        self._offset = size - len(rest)
        for line in lines.splitlines():
            self._take(line)
        if lines and self.step and looked:
            self._seen = time.monotonic()
            if self._first is None:
                self._first = (written, self.step)
            elif self.step > self._first[1]:
                self.rate = (written - self._first[0]) / (self.step - self._first[1])

    def _take(self, text: bytes) -> None:
        try:
            line: dict[str, Any] = json.loads(text)
            self.step, self.loss = int(line["step"]), line["loss"]
            self.ranks = tuple(line.get("live_ranks", self.ranks))
        except (ValueError, KeyError, TypeError):  # the first line after a jump, or one that a crash cut off
            return
