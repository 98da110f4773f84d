"""The loss of a task, computed in float32. A method's regularizer is no part of it (bench/engine)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from bench.evaluation.generation_settings import decoder_start
from bench.inputs.collate import IGNORED, Batch


def task_loss(model: Any, batch: Batch, kind: str) -> tuple[Tensor, Tensor]:
    """The mean loss of a batch, [], and the logits.

    Classes: cross-entropy over rows, with logits [n, classes]. Numbers (regression): squared error, with logits [n, 1].
    Texts: cross-entropy over target tokens without padding, with logits [n, longest target, vocabulary].
    """
    if kind in ("summarization", "text-label"):
        decoder_input_ids = _shifted_right(batch.targets, model)
        logits = model(**batch.inputs, decoder_input_ids=decoder_input_ids, use_cache=False).logits.float()
        return functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED), logits
    logits = model(**batch.inputs).logits.float()
    if kind == "regression":
        return functional.mse_loss(logits.squeeze(-1), batch.targets), logits
    return functional.cross_entropy(logits, batch.targets), logits


def _shifted_right(labels: Tensor, model: Any) -> Tensor:
    """The decoder's inputs, [n, longest target]: the start token, then the targets one place to the right.

    transformers would do the same if it were given the labels, but then it would compute its own loss too.
    """
    shifted = torch.full_like(labels, decoder_start(model))
    shifted[:, 1:] = labels[:, :-1]
    return shifted.masked_fill(shifted == IGNORED, model.config.pad_token_id)
