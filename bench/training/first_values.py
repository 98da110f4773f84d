"""The adapter on a model, with its first values: drawn by the seed, or found in the training rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.config.cell import Cell
from bench.config.rank_rules import Gradients
from bench.distributed import SINGLE_PROCESS, ProcessGroup
from bench.engine.schedule import RankSchedule
from bench.evaluation.loss import loss_weight, task_loss
from bench.inputs.collate import Batch
from bench.inputs.sequences import IGNORED
from bench.models.adapters import attach
from bench.models.eva import eva_vectors, load_vectors
from bench.models.gora import gora_ranks, importance, load_compressed, mean_gradients
from bench.models.sites import AdapterSite
from bench.training import record_parts
from bench.training.batches import Padded
from bench.training.holdout import Rows
from bench.training.rng import seed_everything


@dataclass(frozen=True)
class Place:
    """Where an adapter goes: the cell, its rows, the matrices, their rank schedule, the device and the processes."""

    cell: Cell
    rows: Rows
    sites: Sequence[AdapterSite]
    schedule: RankSchedule
    device: torch.device
    process_group: ProcessGroup = SINGLE_PROCESS

    def collate(self, batch: Padded) -> Batch:
        return self.rows.collator(self.rows.train, self.cell.task.kind, self.device)(batch.rows)

    def loss(self, model: Any, batch: Batch) -> Tensor:
        return task_loss(model, batch, self.cell.task.kind)[0]


def attach_seeded(model: Any, place: Place) -> tuple[Any, Mapping[str, int] | None]:
    """`model` with the adapter of `place`, and the ranks by site where EVA or GoRA finds them in the rows.

    The generators are seeded before anything is drawn for the adapter. With several processes the ranks are those of
    the main one. Raises BenchError as `attach`, `eva_vectors` and `gora_ranks`.
    """
    pattern = place.cell.method.pattern
    draw = None if pattern is None else pattern.draw
    if draw == "eva":
        return _with_eva(model, place)
    if draw == "gora":
        assert pattern is not None
        assert pattern.gradients is not None
        return _with_gora(model, place, pattern.gradients)
    return _attached(model, place), None


def _attached(model: Any, place: Place) -> Any:
    seed_everything(place.cell.seed + 1)
    return attach(model, place.cell, place.sites)


def _with_eva(model: Any, place: Place) -> tuple[Any, Mapping[str, int]]:
    epoch = record_parts.batches_of(place.rows.train, place.cell, place.schedule.total_steps)
    vectors = eva_vectors(
        model, place.cell, place.sites, epoch.batches, place.collate, lambda batch: place.loss(model, batch), _masks
    )
    ranks = _agreed(place, {name: len(rows) for name, rows in vectors.items()})
    model = _attached(model, place)
    load_vectors(model, vectors)
    return model, ranks


def _with_gora(model: Any, place: Place, how: Gradients) -> tuple[Any, Mapping[str, int]]:
    """Every row, or target token, of the batches counts alike, however they are cut into micro-batches."""
    cell, split = place.cell, place.rows.train
    batches = record_parts.batches_of(split, cell, min(how.batches, place.schedule.total_steps)).batches
    weighted = [(batch, loss_weight(split, batch.rows, cell.task.kind)) for batch in batches]
    whole = sum(weight for _, weight in weighted)
    seed_everything(cell.seed + 1)  # dropout is the same for every storage of the base

    def share(part: tuple[Padded, int]) -> Tensor:
        batch, weight = part
        return place.loss(model, place.collate(batch)) * (weight / whole)

    gradients = mean_gradients(model, place.sites, place.process_group.shard(weighted), share, place.process_group)
    found = gora_ranks(cell, place.sites, importance(model, gradients), place.schedule)
    ranks = _agreed(place, dict(zip(gradients, found, strict=True)))
    model = _attached(model, place)
    load_compressed(model, gradients, ranks, how.scale)
    return model, ranks


def _agreed(place: Place, ranks: dict[str, int]) -> dict[str, int]:
    """The main process's: devices of one cell may round apart. Its values are sent to the others with the rest."""
    return place.process_group.all_gather_object(ranks)[0]


def _masks(batch: Batch) -> list[Tensor]:
    """Which tokens of the source, and of a target that a decoder reads apart from it, are no padding."""
    masks = [batch.inputs["attention_mask"].bool()] if "attention_mask" in batch.inputs else []
    if batch.targets.ndim == 2:
        masks.append(batch.targets != IGNORED)
    return masks
