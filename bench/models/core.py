"""From a cell to the engine: its recipe, method and schedule as the plain options of one training core."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.config.cell import Cell
from bench.distributed import SINGLE_PROCESS, ProcessGroup
from bench.engine.options import (
    AllocatorOptions,
    GatesOptions,
    GrowthOptions,
    MovingOptions,
    SalienceOptions,
    StepOptions,
)
from bench.engine.schedule import RankSchedule
from bench.engine.step import Core
from bench.models.patterns import pattern_of
from bench.models.sites import AdapterSite


def build_core(
    model: Any,
    sites: Sequence[AdapterSite],
    cell: Cell,
    schedule: RankSchedule,
    process_group: ProcessGroup = SINGLE_PROCESS,
    ranks: Mapping[str, int] | None = None,
) -> Core:
    """The training core of `cell` on `model`, whose adapters are attached at `sites`. Raises BenchError.

    Where the adapter's layers are PEFT's own (`adapter: peft`) or there is none (`full`), the engine has no sites: it
    trains every parameter as it trains heads. ranks: by site, where the training rows decided them (EVA, GoRA).
    """
    return Core(
        model,
        sites if cell.method.lean else (),
        step_options(cell, schedule.total_steps),
        schedule,
        allocator_options(cell, schedule.total_steps, pattern_of(cell, sites, model, schedule, ranks)),
        process_group=process_group,
    )


def step_options(cell: Cell, total_steps: int) -> StepOptions:
    """How the cell makes an optimizer step, in a training of `total_steps`."""
    recipe = cell.recipe
    return StepOptions(
        learning_rate=recipe.learning_rate,
        warmup_steps=recipe.warmup_at(total_steps),
        decay=recipe.decay,
        weight_decay=recipe.weight_decay,
        betas=recipe.adam_betas,
        epsilon=recipe.adam_epsilon,
        max_grad_norm=recipe.gradient_clip,
        orthogonality=recipe.orthogonality if cell.method.regularized else 0.0,
        micro_batches=recipe.micro_batches,
        optimizer=recipe.optimizer,
    )


def allocator_options(cell: Cell, total_steps: int, ranks: tuple[int, ...] | None = None) -> AllocatorOptions:
    """Who decides the ranks of the cell, and what it is told. ranks: of each site, where they are given."""
    method = cell.method
    growth, moving, salience, gates = method.growth, method.moving, method.salience, method.gates
    return AllocatorOptions(
        name=method.allocator,
        unit=method.unit,
        importance=method.importance,
        importance_betas=cell.recipe.importance_betas,
        importance_gradient=method.importance_gradient,
        compact=method.compact,
        seed=cell.seed,
        ranks=ranks,
        sparsity=AllocatorOptions.sparsity if method.sparsity is None else method.sparsity,
        salience=None if salience is None else SalienceOptions(**salience.model_dump()),
        gates=None if gates is None else GatesOptions(**gates.model_dump()),
        weight_decay=cell.recipe.weight_decay,
        moving=None if moving is None else MovingOptions(**moving.model_dump()),
        growth=None
        if growth is None
        else GrowthOptions(
            checks=growth.check_steps(total_steps),
            start_rank=growth.start_rank,
            ranks_per_growth=growth.ranks,
            patience=growth.patience,
            margin=growth.margin,
            warmup_steps=growth.warmup,
        ),
    )
