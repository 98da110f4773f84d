"""Rows as padded tensors: what training and evaluation feed a model with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.inputs.datasets import Split

IGNORED = -100  # a target position that counts in no loss


@dataclass(frozen=True)
class Batch:
    """Padded tensors on the device. `inputs`: what the model takes; `targets`: classes [n], numbers [n], or token ids
    [n, t] with IGNORED at the padding; `tokens`: source and target tokens without padding."""

    inputs: dict[str, Any]
    targets: Tensor
    tokens: int


class Collator:
    """Makes batches of a split for one kind of task, padded to the longest row on the side of the tokenizer."""

    def __init__(self, split: Split, kind: str, pad_id: int, device: torch.device) -> None:
        self.split, self.kind, self.pad_id, self.device = split, kind, pad_id, device

    def __call__(self, rows: Sequence[int]) -> Batch:
        ids = self._padded([self.split.input_ids[i] for i in rows], self.pad_id)
        mask = self._padded([np.ones_like(self.split.input_ids[i]) for i in rows], 0)
        tokens = sum(len(self.split.input_ids[i]) for i in rows)
        if self.kind in ("summarization", "text-label"):
            labels = [self.split.label_ids[i] for i in rows]
            tokens += sum(len(label) for label in labels)
            targets = self._padded(labels, IGNORED)
        else:
            dtype = torch.float32 if self.kind == "regression" else torch.long
            targets = torch.tensor([self.split.targets[i] for i in rows], dtype=dtype)
        inputs = {"input_ids": ids.to(self.device), "attention_mask": mask.to(self.device)}
        return Batch(inputs, targets.to(self.device), tokens)

    @staticmethod
    def _padded(rows: list[np.ndarray], value: int) -> Tensor:
        out = np.full((len(rows), max(len(row) for row in rows)), value, dtype=np.int64)
        for place, row in zip(out, rows, strict=True):
            place[: len(row)] = row
        return torch.from_numpy(out)
