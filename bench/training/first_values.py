"""The adapter on a model, with its first values: drawn by the seed, or found in the training rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bench.config.cell import Cell
from bench.evaluation.loss import task_loss
from bench.inputs.collate import Batch
from bench.inputs.sequences import IGNORED
from bench.models.adapters import attach
from bench.models.eva import eva_vectors, load_vectors
from bench.models.sites import AdapterSite
from bench.training import record_parts
from bench.training.holdout import Rows
from bench.training.rng import seed_everything


def attach_seeded(
    model: Any, cell: Cell, rows: Rows, sites: Sequence[AdapterSite], device: torch.device
) -> tuple[Any, dict[str, Tensor] | None]:
    """`model` with the cell's adapter on `sites`, and the first rows of A by site where EVA finds them in `rows`.

    The generators are seeded before anything is drawn for the adapter. Raises BenchError as `attach` and `eva_vectors`.
    """
    pattern, vectors = cell.method.pattern, None
    if pattern is not None and pattern.draw == "eva":
        collate = rows.collator(rows.train, cell.task.kind, device)
        epoch = record_parts.batches_of(rows.train, cell, cell.recipe.total_steps(len(rows.train)))
        vectors = eva_vectors(
            model,
            cell,
            sites,
            epoch.batches,  # made when they are read: a whole epoch need not fit on the device
            lambda batch: task_loss(model, collate(batch.rows), cell.task.kind),
            lambda batch: _masks(collate(batch.rows)),
        )
    seed_everything(cell.seed + 1)
    model = attach(model, cell, sites)
    if vectors is not None:
        load_vectors(model, vectors)
    return model, vectors


def _masks(batch: Batch) -> list[Tensor]:
    """Which tokens of the source, and of a target that a decoder reads apart from it, are no padding."""
    masks = [batch.inputs["attention_mask"].bool()] if "attention_mask" in batch.inputs else []
    if batch.targets.ndim == 2:
        masks.append(batch.targets != IGNORED)
    return masks
