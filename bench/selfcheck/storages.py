"""The base of a model in each storage: it loads, it trains, and it takes the bytes that were counted."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch.nn import functional

from bench.estimate.parameters import predict_parameters
from bench.evaluation.loss import task_loss
from bench.selfcheck.check import Finding, Place, judged
from bench.selfcheck.specimens import SHAPES, Specimen, cell_of, random_batch, specimen
from bench.training.measure import base_bytes

# By the storage of their base.
METHODS = {"fp32": "lora", "fp32_autocast": "lora_autocast", "bf16": "lora_bf16", "nf4": "qlora"}
# Cosine between the logits of a storage and those of float32.
ALIKE = {"fp32": 0.999, "fp32_autocast": 0.99, "bf16": 0.99, "nf4": 0.7}


def storages_load(place: Place) -> Finding:
    """Load every backbone in every storage, make two steps, and compare the logits with float32's."""
    wrong, cosines = [], {}
    expected: dict[str, torch.Tensor] = {}
    for task, found in _each(place):
        storage = found.cell.method.storage
        shape = next(shape for shape in SHAPES[place.device] if shape.task == task)
        batch = random_batch(found.cell, shape.batch, found.device)
        with torch.no_grad():
            found.model.eval()
            logits = task_loss(found.model, batch, found.cell.task.kind)[1].flatten().cpu()
            found.model.train()
        cosine = float(functional.cosine_similarity(logits, expected.setdefault(task, logits), dim=0))
        losses = [float(found.step(batch).loss) for _ in range(2)]
        cosines[f"{found.cell.backbone.name} {storage}"] = cosine
        if not all(map(math.isfinite, losses)) or cosine < ALIKE[storage]:
            wrong.append(f"{task} {storage}: losses {losses}, cosine with float32's logits {cosine:.3f}")
    told = f"{len(cosines)} models train; cosines with float32: {', '.join(f'{c:.3f}' for c in cosines.values())}"
    return judged(not wrong, "; ".join(wrong) or told, cosines=cosines)


def bytes_as_counted(place: Place) -> Finding:
    """Compare the bytes of each loaded base with those that `bench plan` counts from shapes."""
    wrong, measured = [], {}
    for _, found in _each(place):
        name = f"{found.cell.backbone.name} {found.cell.method.storage}"
        stored, counted = base_bytes(found.model), predict_parameters(found.cell).base
        measured[name] = stored.model_dump()
        if stored != counted:
            wrong.append(f"{name}: {stored.model_dump()}, counted {counted.model_dump()}")
    return judged(not wrong, "; ".join(wrong) or f"{len(measured)} bases, to the byte", bytes=measured)


def _each(place: Place) -> Iterator[tuple[str, Specimen]]:
    """A model of every kind in every storage, one at a time."""
    for task in ("mnli", "cnn_dailymail"):
        for method in METHODS.values():
            yield task, specimen(place, cell_of(place, task, method))
