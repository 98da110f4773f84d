"""Tokenized rows as padded tensors: the batches of training and evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bench.config.kinds import KINDS
from bench.inputs.images import PIXELS, SHAPE, Scaling
from bench.inputs.prompts import OPTION_IDS, OPTION_LENGTHS
from bench.inputs.segments import SEGMENT_IDS
from bench.inputs.sequences import IGNORED, sequences
from bench.inputs.splits import Column, Part, Split
from bench.inputs.windows import SPAN

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


PIXEL_VALUES = "pixel_values"  # the name that transformers gives the numbers of images


@dataclass(frozen=True)
class Batch:
    """One batch of n rows on the device.

    `inputs` are the model's arguments: input_ids, attention_mask and, where the model is told segments, token_type_ids,
    all [n, longest source]; of images pixel_values [n, channels, height, width]. Those of a decoder hold the targets
    too (bench/inputs/sequences.py). `targets` are classes [n], numbers [n], the first and the last token of answers
    [n, 2], or token ids [n, longest target] with IGNORED at the padding. `tokens` counts source and target tokens
    without padding; an image has none. Where a row has several sequences, one for each of its options, `sequences`
    counts them, and the inputs are [sum of these, longest].
    """

    inputs: dict[str, Any]
    targets: Tensor
    tokens: int
    sequences: tuple[int, ...] | None = None


class Collator:
    """Makes batches of the rows of one split, padded to the longest row of the batch as the tokenizer would pad it.

    Targets are padded on the right.
    """

    def __init__(self, split: Split, kind: str, processor: Any, device: torch.device) -> None:
        """`processor`: the tokenizer of texts, or of images the model's image processor."""
        self.split, self.kind, self.device = split, kind, device
        if KINDS[kind].input == "image":
            self._scaling = Scaling.of(processor)
            return
        tokenizer: PreTrainedTokenizerBase = processor
        self._pad_id, self._pad_segment = tokenizer.pad_token_id, tokenizer.pad_token_type_id
        self._left = tokenizer.padding_side == "left"

    def __call__(self, rows: Sequence[int]) -> Batch:
        """The batch of the rows at these indices of the split."""
        if KINDS[self.kind].family == "decoder":
            return self._sequences([self.split.input_ids[i] for i in rows], [self.split.label_ids[i] for i in rows])
        if KINDS[self.kind].input == "image":
            pixels, shapes = self.split.more[PIXELS], self.split.more[SHAPE]
            images = np.stack([self._scaling(pixels[i], shapes[i]) for i in rows])
            return self._batch({PIXEL_VALUES: torch.from_numpy(images)}, rows, [])
        sources = self._sources(self.split.input_ids, rows)
        inputs = {
            "input_ids": _padded(sources, self._pad_id, left=self._left),
            "attention_mask": _padded([np.ones_like(source) for source in sources], 0, left=self._left),
        }
        if self.split.segment_ids is not None:
            segments = self._sources(self.split.segment_ids, rows)
            inputs[SEGMENT_IDS] = _padded(segments, self._pad_segment, left=self._left)
        return self._batch(inputs, rows, sources)

    def _batch(self, inputs: dict[str, Tensor], rows: Sequence[int], sources: list[np.ndarray]) -> Batch:
        """The batch of these rows, whose `inputs` are made of the tokens in `sources`, of which images have none."""
        tokens, counts = sum(map(len, sources)), None
        if OPTION_LENGTHS in self.split.more:
            counts = tuple(len(self.split.more[OPTION_LENGTHS][i]) for i in rows)
        if KINDS[self.kind].target_tokens:
            labels = [self.split.label_ids[i] for i in rows]
            tokens += sum(len(label) for label in labels)
            targets = _padded(labels, IGNORED)
        elif KINDS[self.kind].target == "span":
            before = [max(map(len, sources)) - len(source) if self._left else 0 for source in sources]
            spans = [self.split.more[SPAN][i].astype(np.int64) for i in rows]
            targets = torch.from_numpy(np.stack(spans) + np.array(before)[:, None])
        else:
            dtype = torch.float32 if KINDS[self.kind].target == "number" else torch.long
            targets = torch.tensor([self.split.targets[i] for i in rows], dtype=dtype)
        on_device = {name: _moved(tensor, self.device) for name, tensor in inputs.items()}
        return Batch(on_device, _moved(targets, self.device), tokens, counts)

    def _sources(self, column: Column | Part, rows: Sequence[int]) -> list[np.ndarray]:
        """What these rows have in `column`: one sequence for each row, or for each of its options."""
        if OPTION_LENGTHS not in self.split.more:
            return [column[i] for i in rows]
        return [part for i in rows for part in self._of_options(column, i)]

    def _of_options(self, column: Column | Part, row: int) -> list[np.ndarray]:
        """What `column` holds of each option of the row at this index."""
        return np.split(column[row], np.cumsum(self.split.more[OPTION_LENGTHS][row])[:-1])

    def options(self, rows: Sequence[int], size: int) -> Iterator[Batch]:
        """Every option of these rows as a target of its own, one after the other, in batches of at most `size`."""
        prompts: list[np.ndarray] = []
        options: list[np.ndarray] = []
        for i in rows:
            of_row = self._of_options(self.split.more[OPTION_IDS], i)
            options += of_row
            prompts += [self.split.input_ids[i]] * len(of_row)
        for start in range(0, len(options), size):
            yield self._sequences(prompts[start : start + size], options[start : start + size])

    def _sequences(self, prompts: list[np.ndarray], completions: list[np.ndarray]) -> Batch:
        inputs, targets = sequences(prompts, completions, self._pad_id)
        on_device = {name: _moved(tensor, self.device) for name, tensor in inputs.items()}
        return Batch(on_device, _moved(targets, self.device), sum(map(len, prompts)) + sum(map(len, completions)))


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`. A GPU copies it while the host goes on, which it can only from pinned memory."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _padded(rows: list[np.ndarray], value: int, *, left: bool = False) -> Tensor:
    """The rows as one tensor [rows, longest row], filled up with `value` behind each row, or before it."""
    padded = np.full((len(rows), max(len(row) for row in rows)), value, dtype=np.int64)
    for line, row in zip(padded, rows, strict=True):
        line[len(line) - len(row) if left else 0 :][: len(row)] = row
    return torch.from_numpy(padded)
