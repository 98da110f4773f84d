"""Batches of a decoder: prompts and what stands behind them in one sequence, lined up where the one ends.

Prompts are padded on the left and completions on the right, so that every completion of a batch begins at the same
place: the model computes logits only for the tokens that are learned or scored, and generation takes the same prompts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

IGNORED = -100  # a target position that counts in no loss: the ignore_index of PyTorch's cross-entropy
POSITION_IDS = "position_ids"


def sequences(
    prompts: Sequence[np.ndarray], completions: Sequence[np.ndarray], pad_id: int
) -> tuple[dict[str, Tensor], Tensor]:
    """The model's inputs, and the targets [n, longest completion] with IGNORED at the padding.

    The inputs are input_ids, attention_mask and position_ids, all [n, longest prompt + longest completion]. A padded
    place has position 0, which no token that counts attends to.
    """
    before, after = max(map(len, prompts)), max(map(len, completions))
    ids = np.full((len(prompts), before + after), pad_id, dtype=np.int64)
    mask = np.zeros_like(ids)
    targets = np.full((len(prompts), after), IGNORED, dtype=np.int64)
    for row, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        tokens = slice(before - len(prompt), before + len(completion))
        ids[row, tokens] = np.concatenate([prompt, completion])
        mask[row, tokens] = 1
        targets[row, : len(completion)] = completion
    positions = np.maximum(mask.cumsum(axis=1) - 1, 0) * mask
    inputs = {"input_ids": ids, "attention_mask": mask, POSITION_IDS: positions}
    return {name: torch.from_numpy(values) for name, values in inputs.items()}, torch.from_numpy(targets)
