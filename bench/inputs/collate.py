"""Tokenized rows as padded tensors: the batches of training and evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.inputs.datasets import Split

IGNORED = -100  # a target position that counts in no loss: the ignore_index of PyTorch's cross-entropy


@dataclass(frozen=True)
class Batch:
    """One batch of n rows on the device.

    `inputs` are the model's arguments: input_ids and attention_mask, [n, longest source]. `targets` are classes [n],
    numbers [n], or token ids [n, longest target] with IGNORED at the padding. `tokens` counts source and target tokens
    without padding.
    """

    inputs: dict[str, Any]
    targets: Tensor
    tokens: int


class Collator:
    """Makes batches of the rows of one split, padded on the right to the longest row of the batch."""

    def __init__(self, split: Split, kind: str, pad_id: int, device: torch.device) -> None:
        self.split, self.kind, self.pad_id, self.device = split, kind, pad_id, device

    def __call__(self, rows: Sequence[int]) -> Batch:
        """The batch of the rows at these indices of the split."""
        sources = [self.split.input_ids[i] for i in rows]
        ids = self._padded(sources, self.pad_id)
        mask = self._padded([np.ones_like(source) for source in sources], 0)
        tokens = sum(len(source) for source in sources)
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
        padded = np.full((len(rows), max(len(row) for row in rows)), value, dtype=np.int64)
        for line, row in zip(padded, rows, strict=True):
            line[: len(row)] = row
        return torch.from_numpy(padded)
