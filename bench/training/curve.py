"""curve.jsonl: a line an optimizer step. Values stay on the device and are fetched in blocks."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import torch

from bench.training.core import StepReport

BLOCK = 25  # steps between two fetches


class Diverged(Exception):
    """The loss of `step` was not finite."""

    def __init__(self, step: int) -> None:
        super().__init__(f"the loss was not finite at step {step}")
        self.step = step


class Curve:
    """Appends to `file` from `offset` bytes on; what stood behind it (of a killed job) is cut off."""

    def __init__(self, file: Path, offset: int = 0) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._stream = file.open("r+b" if offset and file.is_file() else "wb")
        self._stream.truncate(offset)
        self._stream.seek(offset)
        self._waiting: list[tuple[StepReport, Sequence[int] | None]] = []
        self.last_loss: float | None = None

    def add(self, report: StepReport, live_ranks: Sequence[int] | None) -> None:
        """Note a step; `live_ranks` (in the order of the sites) where they changed. Raises Diverged."""
        self._waiting.append((report, live_ranks))
        if len(self._waiting) >= BLOCK:
            self.flush()

    def flush(self) -> int:
        """Write what waits; the file's length in bytes. Raises Diverged at the first loss that is not finite."""
        if self._waiting:
            fields = ("loss", "regulariser", "grad_norm", "skipped")
            values = torch.stack([torch.stack([getattr(r, f).float() for f in fields]) for r, _ in self._waiting])
            for (report, ranks), (loss, regulariser, norm, skipped) in zip(self._waiting, values.tolist(), strict=True):
                if not math.isfinite(loss):
                    self._stream.flush()
                    raise Diverged(report.step)
                self.last_loss = loss
                line = {
                    "step": report.step,
                    "loss": loss,
                    "learning_rate": report.learning_rate,
                    "gradient_norm": norm if math.isfinite(norm) else None,
                    "regulariser": regulariser,
                    "budget": report.budget,
                    **({"skipped": True} if skipped else {}),
                    **({"live_ranks": list(ranks)} if ranks is not None else {}),
                }
                self._stream.write(json.dumps(line).encode() + b"\n")
            self._waiting.clear()
        self._stream.flush()
        return self._stream.tell()

    def close(self) -> None:
        self._stream.close()
