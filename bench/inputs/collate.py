"""Tokenized rows as padded tensors: the batches of training and evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bench.inputs.segments import SEGMENT_IDS
from bench.inputs.splits import Split

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100  # a target position that counts in no loss: the ignore_index of PyTorch's cross-entropy


@dataclass(frozen=True)
class Batch:
    """One batch of n rows on the device.

    `inputs` are the model's arguments: input_ids, attention_mask and, where the model is told segments, token_type_ids,
    all [n, longest source]. `targets` are classes [n], numbers [n], or token ids [n, longest target] with IGNORED at
    the padding. `tokens` counts source and target tokens without padding.
    """

    inputs: dict[str, Any]
    targets: Tensor
    tokens: int


class Collator:
    """Makes batches of the rows of one split, padded to the longest row of the batch as the tokenizer would pad it.

    Targets are padded on the right.
    """

    def __init__(self, split: Split, kind: str, tokenizer: PreTrainedTokenizerBase, device: torch.device) -> None:
        self.split, self.kind, self.device = split, kind, device
        self._pad_id, self._pad_segment = tokenizer.pad_token_id, tokenizer.pad_token_type_id
        self._left = tokenizer.padding_side == "left"

    def __call__(self, rows: Sequence[int]) -> Batch:
        """The batch of the rows at these indices of the split."""
        sources = [self.split.input_ids[i] for i in rows]
        inputs = {
            "input_ids": _padded(sources, self._pad_id, left=self._left),
            "attention_mask": _padded([np.ones_like(source) for source in sources], 0, left=self._left),
        }
        if self.split.segment_ids is not None:
            segments = [self.split.segment_ids[i] for i in rows]
            inputs[SEGMENT_IDS] = _padded(segments, self._pad_segment, left=self._left)
        tokens = sum(len(source) for source in sources)
        if self.kind in ("summarization", "text-label"):
            labels = [self.split.label_ids[i] for i in rows]
            tokens += sum(len(label) for label in labels)
            targets = _padded(labels, IGNORED)
        else:
            dtype = torch.float32 if self.kind == "regression" else torch.long
            targets = torch.tensor([self.split.targets[i] for i in rows], dtype=dtype)
        on_device = {name: _moved(tensor, self.device) for name, tensor in inputs.items()}
        return Batch(on_device, _moved(targets, self.device), tokens)


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`. A GPU copies it while the host goes on, which it can only from pinned memory."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _padded(rows: list[np.ndarray], value: int, *, left: bool = False) -> Tensor:
    """The rows as one tensor [rows, longest row], filled up with `value` behind each row, or before it."""
    padded = np.full((len(rows), max(len(row) for row in rows)), value, dtype=np.int64)
    for line, row in zip(padded, rows, strict=True):
        line[len(line) - len(row) if left else 0 :][: len(row)] = row
    return torch.from_numpy(padded)
