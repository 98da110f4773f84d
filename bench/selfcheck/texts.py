"""Texts that our generation writes, in which beams share their source, and those of plain `generate`."""

from __future__ import annotations

from typing import Any

import torch

from bench.estimate.tracing import BatchShape
from bench.evaluation.generation import generate_texts
from bench.evaluation.generation_settings import only_these_settings
from bench.selfcheck.check import Finding, Place, judged
from bench.selfcheck.specimens import attached, cell_of, random_batch

BEAMS, LONGEST = 4, 16
SHAPE = BatchShape(8, 24, LONGEST)
# Random weights say the same of every source, and near ties of their beams would hang on rounding: these do not.
SPREAD = 1.7  # of a weight, times the square root of the width


class Numbers:
    """A tokenizer that writes token 7 as 7."""

    def batch_decode(self, ids: torch.Tensor, skip_special_tokens: bool) -> list[str]:  # noqa: ARG002
        return [" ".join(str(token) for token in row if token > 3) for row in ids.tolist()]


def texts_of_generate(place: Place) -> Finding:
    """Write texts by beam search both ways, and compare them word by word."""
    cell = cell_of(place, "cnn_dailymail", "lora")
    assert cell.task.generation is not None
    shorter = cell.task.generation.model_copy(update={"beams": BEAMS, "max_length": LONGEST, "min_length": 0})
    task = cell.task.model_copy(update={"generation": shorter})
    found = attached(place, cell)
    model = _spread(found.model).eval()
    batch = random_batch(cell, SHAPE, found.device)
    with torch.inference_mode():
        ours, *_ = generate_texts(model, task, batch, Numbers())
        with only_these_settings(task, model) as settings:
            ids = model.generate(**batch.inputs, generation_config=settings)
    theirs = [text.strip() for text in Numbers().batch_decode(ids, skip_special_tokens=True)]
    same = sum(a == b for a, b in zip(ours, theirs, strict=True))
    return judged(
        same == len(theirs) and len(set(theirs)) > 1,
        f"{same} of {len(theirs)} texts alike, {len(set(theirs))} different ones",
        ours=ours,
        theirs=theirs,
    )


def _spread(model: Any) -> Any:
    """The model with larger random weights, so that sources differ in what is said of them."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator) * SPREAD / parameter.shape[-1] ** 0.5
            parameter.add_(noise.to(parameter.device))
    return model
