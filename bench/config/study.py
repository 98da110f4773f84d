"""Study: a grid of cells and the tables drawn from them. One YAML file each in workflow/studies/."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from bench.config.budget import Budget
from bench.config.cell import Selection
from bench.config.recipe import Positive
from bench.config.task import KeyName, Kind, Name, Resources
from bench.config.types import Frozen

Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Grid(Frozen):
    """A product of tasks, methods, budgets and seeds; a list that is left out is the study's."""

    tasks: list[KeyName] | None = None
    methods: list[KeyName] | None = None
    budgets: list[KeyName] | None = None
    seeds: list[Seed] | None = None


class Limits(Frozen):
    """Rows used at the most; null: all."""

    train_rows: Positive | None = None
    evaluation_rows: Positive | None = None


class Study(Frozen):
    name: Name
    description: str = ""
    data: Literal["hub", "mirror", "embedded"] = Field(
        "hub",
        description="hub: the hub, or the folder mirror=DIR; mirror: only such a folder; embedded: generated",
    )
    backbones: Annotated[dict[Kind, Name], Field(min_length=1)]
    tasks: Annotated[list[KeyName], Field(min_length=1)]
    methods: Annotated[list[KeyName], Field(min_length=1)]
    budgets: Annotated[dict[KeyName, Budget], Field(min_length=1)]
    seeds: Annotated[list[Seed], Field(min_length=1)]
    grids: list[Grid] = Field([], description="in place of one full product: several; each overrides the lists above")
    limits: Limits = Limits()
    recipe: dict[str, Any] = Field({}, description="overrides every task's recipe")
    overrides: dict[KeyName, dict[str, Any]] = Field({}, description="by task: any key of the task's file")
    threads: Positive = Field(1, description="CPU threads of a cell: part of its identity, since it decides the bits")
    selection: Selection = Field(
        "last", description="the step that is reported: the last one, or the one with the lowest loss on held-out rows"
    )
    tracker: Literal["tensorboard", "trackio", "wandb"] | None = Field(
        None, description="where curves and ranks are shown live, beside the files that hold them anyway"
    )
    resources: Resources = Resources()
    cells_per_job: Positive = Field(1, description="short cells of a task that one job trains, one after another")
    tolerance: float = Field(0.05, ge=0, description="share by which kept parameters may differ before a footnote")

    @model_validator(mode="after")
    def _consistent(self) -> Study:
        for key in ("tasks", "methods", "seeds"):
            values = getattr(self, key)
            twice = sorted({str(v) for v in values if values.count(v) > 1})
            if twice:
                raise ValueError(f"{key} names {twice[0]} twice: the same cell would stand twice in the study")
        for task, own in self.overrides.items():
            for key in ("recipe", "data"):
                if not isinstance(own.get(key, {}), dict):
                    raise ValueError(f"overrides.{task}.{key}: expected a mapping of its keys, found {own[key]!r}")
        return self
