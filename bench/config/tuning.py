"""Tuning: the recipe keys that are tuned, from which values, with how many trials. A block of a study.

All methods of a task are tuned alike: the same points, the same trial seeds, the same held-out rows of the training
split. What is reported is trained afterwards, with the chosen point on all training rows.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, GetJsonSchemaHandler, field_validator, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from bench.config.recipe import Recipe
from bench.config.types import Frozen, KeyName, NonNegative, Plain, Positive, Seed
from bench.errors import nearest

# Keys of a recipe that no point can hold, and why.
_NOT_TUNED = {
    "max_length": "it decides the prepared rows, which all cells of a task share",
    "max_target_length": "it decides the prepared rows, which all cells of a task share",
    "holdout_rows": "the trials hold out tuning.holdout_rows",
    "processes": "it decides what a job asks for",
    "accumulation": "it changes memory, not what is learned",
    "evaluation_batch_size": "it changes memory, not what is learned",
    "gradient_checkpointing": "it changes memory, not what is learned",
    "score_epochs": "it changes what is recorded, not what is learned",
}

HELD_OUT = "held-out"  # the name, in records of trials, of the split that they are scored on

MOST_POINTS = 10_000

Values = dict[str, Any]  # of one point: the tuned recipe keys and their values


class Dimension(Frozen):
    """The values of one key: a range with `from` and `to`, or a list. A list alone stands for `{values: [...]}`."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    lowest: float | None = Field(None, alias="from", description="Lowest value of a range.")
    highest: float | None = Field(None, alias="to", description="Highest value of a range.")
    scale: Literal["linear", "log"] = Field(
        "linear",
        description="How a range is covered: linear evenly, log evenly in the logarithm. The default is linear.",
    )
    values: Annotated[list[Plain], Field(min_length=1)] | None = Field(
        None, description="The values themselves, in place of a range. The default null means a range."
    )

    @model_validator(mode="before")
    @classmethod
    def _list_of_values(cls, data: Any) -> Any:
        return {"values": data} if isinstance(data, list) else data

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The list is a form of its own, which no field says."""
        return {"anyOf": [handler(schema), {"type": "array", "minItems": 1}]}

    @model_validator(mode="after")
    def _consistent(self) -> Dimension:
        if self.values is not None:
            if self.lowest is not None or self.highest is not None or self.scale != "linear":
                raise ValueError("give values alone, or a range with from, to and scale")
            if any(value in self.values[:i] for i, value in enumerate(self.values)):
                raise ValueError("a value stands twice in the list")
            return self
        if self.lowest is None or self.highest is None:
            raise ValueError("expected a list of values, or a range {from: LOWEST, to: HIGHEST, scale: log}")
        if not self.lowest < self.highest:
            raise ValueError(f"from {self.lowest:g} is not below to {self.highest:g}")
        if self.scale == "log" and self.lowest <= 0:
            raise ValueError(f"a range on a log scale lies above 0, found from {self.lowest:g}")
        return self


class Tuning(Frozen):
    """How a study finds the recipe of each group (task x method x budget) before it trains what it reports."""

    space: Annotated[dict[str, Dimension], Field(min_length=1)] = Field(
        description="The recipe keys that are tuned, each with a range {from, to, scale} or a list of values."
    )
    trials: Annotated[int, Field(ge=2, le=MOST_POINTS)] | None = Field(
        None,
        description="Number of points for each task x method x budget. The default null is for lists of values alone: "
        "the full grid.",
    )
    seeds: Annotated[list[Seed], Field(min_length=1)] = Field(
        [100], description="Seeds of the trials, none of them a seed of the study. The default is 100 alone."
    )
    task_seeds: dict[KeyName, Annotated[list[Seed], Field(min_length=1)]] = Field(
        {},
        description="Seeds of the trials of single tasks in place of `seeds`, under the task's name: more where trials "
        "of one point differ more. The default is none.",
    )
    holdout_rows: Positive = Field(
        500, description="Rows of the training split that trials are scored on and not trained on. The default is 500."
    )
    choose_by: Literal["metric", "loss"] = Field(
        "metric",
        description="What the chosen point is best in on the held-out rows: the metric that tables show first, or the "
        "loss. The default is metric.",
    )
    choose: Literal["best", "one_standard_error"] = Field(
        "best",
        description="Which point is chosen: best, or one_standard_error, the first in the order of the lists whose "
        "mean over trial seeds is within one standard error of the best one's. The default is best.",
    )
    sampler: Literal["sobol", "random"] = Field(
        "sobol",
        description="How points are drawn from the ranges: sobol, a scrambled Sobol sequence that covers them evenly, "
        "or random, independently. The default is sobol.",
    )
    sampler_seed: NonNegative = Field(0, description="Seed of the sampler. The default is 0.")
    halving: Annotated[int, Field(ge=2, le=16)] | None = Field(
        None,
        description="Successive halving: at each rung the best 1 of `halving` trials go on, the others stop. "
        "The default null trains every trial to its end.",
    )
    halving_from: float = Field(
        0.25,
        gt=0,
        lt=1,
        description="Smallest fraction of a trial's steps at which halving may stop it. The default is 0.25.",
    )

    @field_validator("space")
    @classmethod
    def _recipe_keys(cls, space: dict[str, Dimension]) -> dict[str, Dimension]:
        valid = [key for key in Recipe.model_fields if key not in _NOT_TUNED]
        for key, dimension in space.items():
            if key in _NOT_TUNED:
                raise ValueError(f"{key} cannot be tuned: {_NOT_TUNED[key]}")
            if key not in valid:
                raise ValueError(f"unknown recipe key {key!r}{nearest(key, valid)}")
            if dimension.values is None and not _takes_numbers(key):
                raise ValueError(f"{key} takes no range: give a list of values")
            bounds = (dimension.lowest, dimension.highest)
            if takes_whole_numbers(key) and any(bound is not None and bound != int(bound) for bound in bounds):
                raise ValueError(f"{key} takes whole numbers, as from and to must be")
        return space

    @field_validator("seeds")
    @classmethod
    def _no_seed_twice(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed stands twice")
        return seeds

    @field_validator("task_seeds")
    @classmethod
    def _no_seed_of_a_task_twice(cls, task_seeds: dict[str, list[int]]) -> dict[str, list[int]]:
        for task, seeds in task_seeds.items():
            if len(set(seeds)) < len(seeds):
                raise ValueError(f"{task}: a seed stands twice")
        return task_seeds

    @model_validator(mode="after")
    def _consistent(self) -> Tuning:
        grid = self.grid_size
        if grid is None and self.trials is None:
            raise ValueError("trials is missing: how many points are drawn from the ranges of the space")
        if grid is not None and grid > MOST_POINTS:
            raise ValueError(f"a grid of {grid:,} points; a group has at most {MOST_POINTS:,}")
        if grid is not None and self.trials not in (None, grid):
            raise ValueError(f"a space of lists alone is a grid of {grid} points, found trials: {self.trials}")
        if self.choose == "one_standard_error":
            if grid is None:
                raise ValueError("choose: one_standard_error takes the first of a list: give lists of values")
            if any(len(seeds) < 2 for seeds in (self.seeds, *self.task_seeds.values())):
                raise ValueError("choose: one_standard_error needs two trial seeds or more, to know the standard error")
        if self.points < 2:
            raise ValueError("a space of one point leaves nothing to choose")
        if self.halving is not None and not self.rungs:
            raise ValueError(
                f"halving: {self.halving} compares trials at 1/{self.halving} of their steps, before "
                f"halving_from: {self.halving_from:g}"
            )
        return self

    def seeds_of(self, task: str) -> list[int]:
        """The seeds of the trials of `task`, with every method and budget alike."""
        return self.task_seeds.get(task, self.seeds)

    @property
    def grid_size(self) -> int | None:
        """Points of the full grid if every key has a list of values; else None."""
        lists = [dimension.values for dimension in self.space.values()]
        return None if any(values is None for values in lists) else math.prod(len(values or ()) for values in lists)

    @property
    def points(self) -> int:
        """Number of points per group."""
        return self.grid_size or self.trials or 0

    @property
    def rungs(self) -> list[float]:
        """The fractions of a trial's steps at which trials are compared and some stop, ascending; none without halving.

        1/4 and 1/2 with `halving` 2 and `halving_from` 0.25; never so many that a rung would be left with no rival.
        """
        if self.halving is None:
            return []
        rungs: list[float] = []
        left = self.points
        fraction = 1 / self.halving
        while fraction >= self.halving_from * (1 - 1e-9) and left > 1:
            rungs.insert(0, fraction)
            left = math.ceil(left / self.halving)
            fraction /= self.halving
        return rungs


def takes_whole_numbers(key: str) -> bool:
    """Whether the recipe key takes whole numbers alone."""
    return _types_of(key) <= {int, type(None)}


def _takes_numbers(key: str) -> bool:
    return bool(_types_of(key) & {int, float})


def _types_of(key: str) -> set[Any]:
    """The types of the recipe key, without what Annotated adds to them."""
    annotation = Recipe.model_fields[key].annotation
    parts = getattr(annotation, "__args__", None)
    found = parts if parts and type(None) in parts else (annotation,)
    return {getattr(part, "__origin__", part) if hasattr(part, "__metadata__") else part for part in found}
