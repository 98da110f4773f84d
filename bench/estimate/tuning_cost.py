"""What the tuning of a study costs: steps of trials that halving stops, and cells whose values are not chosen yet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bench.config.cell import Cell, Halving
from bench.config.recipe import Recipe
from bench.config.resolve import ResolvedStudy
from bench.config.trials import trained_like

# Keys of a recipe that change neither what a cell holds nor how long it takes: cells that differ in them alone are
# planned once.
FREE_KEYS: dict[str, Any] = {
    "learning_rate": 1e-3,
    "warmup_steps": None,
    "decay": "linear",
    "weight_decay": 0.0,
    "adam_betas": (0.9, 0.999),
    "adam_epsilon": 1e-8,
    "alpha": 16.0,
    "scale": None,
}


def planning_key(cell: Cell) -> str:
    """The same for cells that hold the same and take the same time: seeds and learning rates make no difference."""
    recipe = cell.recipe.model_copy(update=FREE_KEYS)
    return cell.model_copy(update={"seed": 0, "recipe": recipe}).spec_hash


def possible_cells(study: ResolvedStudy, cell: Cell) -> list[Cell]:
    """The final cell `cell` with each cost that a point could give it, as long as its choice is not known.

    Of points that differ in `FREE_KEYS` alone, the first stands for all. Else, and for a trial, itself alone.
    """
    if not study.awaits_choice(cell):
        return [cell]
    by_cost: dict[Recipe, Cell] = {}
    for trial in study.trials[cell.tuned_group]:
        by_cost.setdefault(trial.recipe.model_copy(update=FREE_KEYS), trial)
    return [trained_like(cell, trial) for trial in by_cost.values()]


def largest(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One row of the plan for several: the sizes of the one with the largest peak, the time of the longest."""
    by_size = max(rows, key=lambda row: row["predicted_peak"].get("total_bytes", math.inf))
    # A time that is not known may be the longest.
    by_time = max(rows, key=lambda row: (row["seconds"] is None, row["seconds"] or 0, row["steps"] or 0))
    times = {
        key: by_time[key] for key in ("steps", "expected_steps", "tokens", "seconds", "seconds_from", "disk_bytes")
    }
    job = {key: max(row["job"][key] for row in rows) for key in by_size["job"]}
    longest = max(rows, key=lambda row: row["job"]["minutes"])
    return {**by_size, **times, "job": job, "minutes_from": longest["minutes_from"]}


def expected_fraction(halving: Halving | None, points: int) -> float:
    """The fraction of their steps that trials of so many points make on average; 1 without halving.

    All points go to the first rung, and from each rung the best ceil(n / factor) of n go on.

    >>> expected_fraction(Halving(rungs=[0.25, 0.5], factor=2, rivals=""), points=8)
    0.5
    """
    if halving is None:
        return 1.0
    left, reached, made = points, 0.0, 0.0
    for rung in (*halving.rungs, 1.0):
        made += left * (rung - reached)
        left, reached = math.ceil(left / halving.factor), rung
    return made / points
