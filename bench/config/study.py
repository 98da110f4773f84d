"""Study: a grid of cells and the tables drawn from them. One YAML file per study in workflow/studies/."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from bench.config.budget import Budget
from bench.config.cell import Selection
from bench.config.memory_size import MemorySize
from bench.config.task import Resources
from bench.config.tuning import Tuning
from bench.config.types import Frozen, KeyName, Kind, Name, Positive, PositiveOrAuto, Seed
from bench.paths import OTHER_RESULTS


class Grid(Frozen):
    """The product of tasks, methods, budgets and seeds. A list that is left out is the study's own."""

    tasks: list[KeyName] | None = Field(None, description="Tasks of the grid. The default null takes the study's.")
    methods: list[KeyName] | None = Field(None, description="Methods of the grid. The default null takes the study's.")
    budgets: list[KeyName] | None = Field(
        None, description="Names of budgets of the grid. The default null takes the study's."
    )
    seeds: list[Seed] | None = Field(None, description="Seeds of the grid. The default null takes the study's.")


class Limits(Frozen):
    """The largest number of rows that are used."""

    train_rows: Positive | None = Field(None, description="Rows to train on. The default null uses all rows.")
    evaluation_rows: Positive | None = Field(
        None, description="Rows per evaluation split. The default null uses all rows."
    )


class Study(Frozen):
    """What to run: tasks x methods x budgets x seeds, or a list of such products in `grids`."""

    name: Name = Field(description="Name of the study; the file has the same name.")
    description: str = Field(
        "", description="One sentence for readers, shown on the study's page. The default is empty."
    )
    data: Literal["hub", "mirror", "embedded"] = Field(
        "hub",
        description="Source of the rows: hub reads the hub or the folder that mirror=DIR names, mirror reads only such "
        "a folder, embedded generates synthetic rows. The default is hub.",
    )
    backbones: Annotated[dict[Kind, Name], Field(min_length=1)] = Field(description="Backbone for each kind of task.")
    tasks: Annotated[list[KeyName], Field(min_length=1)] = Field(description="Tasks, by the names of their files.")
    methods: Annotated[list[KeyName], Field(min_length=1)] = Field(description="Methods, by the names of their files.")
    budgets: Annotated[dict[KeyName, Budget], Field(min_length=1)] = Field(description="Budgets, each under a name.")
    seeds: Annotated[list[Seed], Field(min_length=1)] = Field(description="Seeds: one cell per seed.")
    grids: list[Grid] = Field(
        [],
        description="Several products in place of the full one; each may replace the lists above. The default is none.",
    )
    limits: Limits = Field(Limits(), description="Largest number of rows. The default uses all rows.")
    recipe: dict[str, Any] = Field(
        {}, description="Keys that replace those of every task's recipe. The default is none."
    )
    overrides: dict[KeyName, dict[str, Any]] = Field(
        {}, description="Keys that replace those of one task's file, under the task's name. The default is none."
    )
    tuning: Tuning | None = Field(
        None,
        description="Recipe keys that are tuned with the same trials for every method, before the study is trained. "
        "The default null tunes nothing.",
    )
    recipe_from: str | None = Field(
        None,
        description="A tuned.yaml of another study, whose values each task x method x budget takes over. "
        "The default null takes none.",
    )
    threads: Positive = Field(
        1,
        description="CPU threads per process. They decide the last bits of a sum, so they are part of a cell's "
        "identity. The default is 1.",
    )
    selection: Selection = Field(
        "last",
        description="Step whose scores are reported: last is the last one, best the one with the lowest loss on "
        "held-out rows. The default is last.",
    )
    tracker: Literal["tensorboard", "trackio", "wandb"] | None = Field(
        None,
        description="Program that shows curves and ranks live; the files of a cell hold them in any case. "
        "The default null uses none.",
    )
    resources: Resources = Field(
        Resources(), description="What jobs ask for where the task's file says nothing. The default is estimated."
    )
    cells_per_job: Positive = Field(
        1, description="Number of short cells of one task that one job trains, one after another. The default is 1."
    )
    cells_per_gpu: PositiveOrAuto = Field(
        1,
        description="Number of cells that share a GPU, one process each; under Slurm those of one job. auto takes as "
        "many as fit in its memory by their predicted peaks. It changes no result, and nothing on the CPU. The default "
        "is 1.",
    )
    gpu_memory: MemorySize | None = Field(
        None,
        description="Memory of a GPU, such as 40GiB, for `cells_per_gpu: auto`. The default null asks the driver or "
        "takes that of the card that `gpu_model` of the Slurm profile names.",
    )
    tolerance: float = Field(
        0.05,
        ge=0,
        description="Fraction by which the kept parameters of two methods may differ before tables add a footnote. "
        "The default is 0.05.",
    )

    @field_validator("name")
    @classmethod
    def _not_another_folder(cls, name: str) -> str:
        if name in OTHER_RESULTS:
            raise ValueError(f"{name!r} is taken: the harness keeps something else in that folder of the results")
        return name

    @model_validator(mode="after")
    def _consistent(self) -> Study:
        for key in ("tasks", "methods", "seeds"):
            values = getattr(self, key)
            repeated = sorted({str(value) for value in values if values.count(value) > 1})
            if repeated:
                raise ValueError(f"{key} names {repeated[0]} twice: the same cell would stand twice in the study")
        for task, changes in self.overrides.items():
            for key in ("recipe", "data"):
                if not isinstance(changes.get(key, {}), dict):
                    raise ValueError(f"overrides.{task}.{key}: expected a mapping of its keys, found {changes[key]!r}")
        return self
