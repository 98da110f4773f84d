"""The task's loss, and nothing else: no regularizer, in float32."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from bench.inputs.collate import IGNORED, Batch


def task_loss(model: Any, batch: Batch, kind: str) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy over rows or target tokens, or mean squared error (regression), []; and the logits."""
    if kind in ("summarization", "text-label"):
        start = _shifted(batch.targets, model)
        logits = model(**batch.inputs, decoder_input_ids=start, use_cache=False).logits.float()
        return functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED), logits
    logits = model(**batch.inputs).logits.float()
    if kind == "regression":
        return functional.mse_loss(logits.squeeze(-1), batch.targets), logits
    return functional.cross_entropy(logits, batch.targets), logits


def _shifted(labels: Tensor, model: Any) -> Tensor:
    """Decoder inputs: the targets one place to the right, after the start token; padding where the loss ignores."""
    config = model.config
    shifted = torch.full_like(labels, config.decoder_start_token_id)
    shifted[:, 1:] = labels[:, :-1]
    return shifted.masked_fill(shifted == IGNORED, config.pad_token_id)
