"""curve.jsonl: one line per optimizer step. Values stay on the device and are fetched in blocks.

The file grows beside the checkpoints, which remember its length and hash, and is copied to the cell's folder at the
end. What a killed attempt wrote after its last checkpoint is cut off, so the curve of an interrupted training is the
same file as that of an uninterrupted one.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.engine.report import StepReport
from bench.files import clear_when_full, write_atomic

BLOCK = 25  # steps between two fetches; fewer in a short training
BLOCKS = 20  # in a short training, whose progress is to be seen, too
HOPELESS = 100  # skipped steps in a row: every gradient is infinite, nothing is learned any more


@dataclass(frozen=True)
class Extras:
    """What is known after some steps only.

    `live_ranks`: in the order of the sites, after steps that changed them. `held_out_loss`: after steps at which it was
    taken. `scores`: {split: {metric: value}}, after each epoch if the recipe asks for it.
    """

    live_ranks: Sequence[int] | None = None
    held_out_loss: float | None = None
    scores: Mapping[str, Mapping[str, float | None]] | None = None

    def as_json(self) -> dict[str, Any]:
        held_out = {} if self.held_out_loss is None else {"held_out_loss": _finite(self.held_out_loss)}
        ranks = {} if self.live_ranks is None else {"live_ranks": list(self.live_ranks)}
        return {**ranks, **held_out, **({} if self.scores is None else {"scores": self.scores})}


class Diverged(Exception):
    """The loss of `step` was not finite, or no gradient was finite in the HOPELESS steps up to it."""

    def __init__(self, step: int, what: str) -> None:
        super().__init__(f"{what} at step {step}")
        self.step = step


Watch = Callable[[Mapping[str, Any]], None]


def unwatched(_message: Mapping[str, Any]) -> None:
    """The watch of a training without a tracker."""


class Curve:
    """Appends to `file` after its first `length` bytes and calls `watch` with each line.

    `last_loss` and `skipped_in_row` describe the lines that were written: the latest loss, and how many steps up to the
    latest were skipped. `total_steps`: of the whole training.
    """

    def __init__(
        self,
        file: Path,
        length: int = 0,
        last_loss: float | None = None,
        skipped_in_row: int = 0,
        watch: Watch = unwatched,
        total_steps: int = BLOCK * BLOCKS,
    ) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file, self._stream = file, file.open("r+b" if length else "w+b")
        self._hash = hashlib.sha256(self._stream.read(length))
        self._stream.truncate(length)
        self._stream.seek(length)
        self._watch = watch
        # A number of steps, not of seconds: when a divergence is noticed must not depend on the time.
        self._block = min(BLOCK, max(1, total_steps // BLOCKS))
        self._waiting: list[tuple[StepReport, Extras]] = []
        self.last_loss, self.skipped_in_row = last_loss, skipped_in_row

    def add(self, report: StepReport, extras: Extras) -> None:
        """Add the line of a step. Raises Diverged if a block of lines is written and training cannot go on."""
        self._waiting.append((report, extras))
        if len(self._waiting) >= self._block:
            self.flush()

    def flush(self) -> None:
        """Fetch and write the waiting lines. Raises Diverged at the first loss that is not finite, after its line."""
        if not self._waiting:
            return
        fields = ("loss", "regularizer", "grad_norm", "skipped")
        values = torch.stack([torch.stack([getattr(r, f).float() for f in fields]) for r, _ in self._waiting]).tolist()
        for (report, extras), (loss, regularizer, norm, skipped) in zip(self._waiting, values, strict=True):
            line = {
                "step": report.step,
                "loss": _finite(loss),
                "learning_rate": report.learning_rate,
                "gradient_norm": _finite(norm),
                "regularizer": _finite(regularizer),
                "budget": report.budget,
                **({"skipped": True} if skipped else {}),
                **extras.as_json(),
            }
            self._write(json.dumps(line, allow_nan=False).encode() + b"\n")
            self._watch(line)
            self.skipped_in_row = self.skipped_in_row + 1 if skipped else 0
            if not math.isfinite(loss):
                self._stop(report.step, "the loss was not finite")
            if self.skipped_in_row >= HOPELESS:
                self._stop(report.step, f"no gradient was finite for {HOPELESS} steps")
            self.last_loss = loss
        self._waiting.clear()
        self._stream.flush()

    def state(self) -> dict[str, object]:
        """What a checkpoint keeps of the curve. All lines so far are on disk when it returns."""
        self.flush()
        os.fsync(self._stream.fileno())
        return {
            "length": self._stream.tell(),
            "sha256": self._hash.hexdigest(),
            "last_loss": self.last_loss,
            "skipped_in_row": self.skipped_in_row,
        }

    def close(self, copy: Path | None) -> None:
        """Close the file and copy it to `copy`, if that is not None. Raises TransientError if the disk is full."""
        self._stream.close()
        if copy is None:
            return
        data = self._file.read_bytes()
        with clear_when_full(copy.parent, len(data)):
            write_atomic(copy, data)

    def _write(self, line: bytes) -> None:
        self._stream.write(line)
        self._hash.update(line)

    def _stop(self, step: int, what: str) -> None:
        self._waiting.clear()
        self._stream.flush()
        raise Diverged(step, what)


def curve_matches(file: Path, length: int, sha256: str) -> bool:
    """Whether the first `length` bytes of `file` are what they were when a checkpoint was taken."""
    if length == 0:
        return True
    try:
        with file.open("rb") as stream:
            return hashlib.sha256(stream.read(length)).hexdigest() == sha256
    except OSError:
        return False


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
