"""Task: a data set, what is read from it, the metric, the recipe. One YAML file each in workflow/tasks/."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from bench.config.recipe import NonNegative, Positive, Recipe
from bench.config.types import Frozen

Kind = Literal["classification", "regression", "summarization", "text-label"]
Metric = Literal[
    "accuracy",
    "mcc",
    "f1",
    "pearson",
    "spearman",
    "mean_correlation",
    "rouge1",
    "rouge2",
    "rougeL",
    "rougeLsum",
    "exact_match",
    "no_label",
]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=64)]
KeyName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
HubId = Annotated[str, StringConstraints(pattern=r"^[\w.-]+/[\w.-]+$", max_length=200)]

METRICS_OF: dict[str, frozenset[str]] = {
    "classification": frozenset({"accuracy", "mcc", "f1"}),
    "regression": frozenset({"pearson", "spearman", "mean_correlation"}),
    "summarization": frozenset({"rouge1", "rouge2", "rougeL", "rougeLsum"}),
    "text-label": frozenset({"exact_match", "accuracy", "mcc", "f1", "no_label"}),
}


def _not_the_training_rows(name: str) -> str:
    if name == "train":
        raise ValueError(
            "the training rows are called so. The key is our name of an evaluation split, the value the set's: "
            "write `validation: train` to evaluate on a split that the set calls train"
        )
    return name


SplitName = Annotated[KeyName, AfterValidator(_not_the_training_rows)]


class Columns(Frozen):
    """Which columns are read: one or two texts, and the label (an index, a number, or the target text)."""

    text: Annotated[list[str], Field(min_length=1, max_length=2)]
    target: str

    @model_validator(mode="after")
    def _distinct(self) -> Columns:
        names = [*self.text, self.target]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"column {twice!r} is named twice: each text and the target is a column of its own")
        return self


class Data(Frozen):
    """Where the rows come from."""

    hub: HubId
    config: str | None = None
    revision: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")] | None = Field(
        None, description="commit of the hub's data set; null: resolved and recorded by prepare"
    )
    train: str = "train"
    evaluation: Annotated[dict[SplitName, str], Field(min_length=1)] = Field(
        {"validation": "validation"}, description="our name of a split: the set's; the first is the one in the tables"
    )
    columns: Columns
    rows: dict[str, Positive] = Field({}, description="rows of the released splits, by the set's split names")
    embedded: str | None = Field(None, description="generator of the demo's rows, in bench/inputs/synthetic/")


class Generation(Frozen):
    """Arguments of `generate` (summarization, text-label)."""

    beams: Positive = 1
    max_length: Positive = 128
    min_length: NonNegative = 0
    length_penalty: float = 1.0
    no_repeat_ngram: NonNegative = 0


class Resources(Frozen):
    """What a task's jobs ask for where its file knows better than the plan."""

    mem_mb: Positive | None = None
    runtime: Positive | None = Field(None, description="minutes")
    gpus: Literal[0, 1] | None = Field(None, description="of each process; 0: the CPU, whatever the machine has")


class Task(Frozen):
    name: KeyName
    version: Positive = Field(1, description="raise it when the meaning of the numbers changes")
    kind: Kind
    description: str = ""
    data: Data
    labels: list[str] = Field([], description="label names in the order of their indices (classification, text-label)")
    metrics: Annotated[list[Metric], Field(min_length=1)]
    prefix: str = Field("", description="put before each source text (T5's task prefixes)")
    recipe: Recipe = Recipe()
    generation: Generation | None = None
    resources: Resources = Resources()

    @property
    def primary_split(self) -> str:
        """The evaluation split that the tables show."""
        return next(iter(self.data.evaluation))

    @property
    def metric(self) -> str:
        """The metric that the tables show."""
        return self.metrics[0]

    @property
    def generates(self) -> bool:
        return self.kind in ("summarization", "text-label")

    @model_validator(mode="after")
    def _consistent(self) -> Task:
        if self.kind in ("classification", "text-label") and len(self.labels) < 2:
            raise ValueError(f"a {self.kind} task names at least two labels, got {self.labels}")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(f"labels repeat: {self.labels}")
        blank = [label for label in self.labels if not label or label != label.strip()]
        if blank:
            raise ValueError(f"label {blank[0]!r} is empty or has a blank at an end")
        if self.kind in ("regression", "summarization") and self.labels:
            raise ValueError(f"a {self.kind} task has no labels, got {self.labels}")
        wrong = [m for m in self.metrics if m not in METRICS_OF[self.kind]]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is no metric of {self.kind}; it has {sorted(METRICS_OF[self.kind])}")
        if self.generates and self.generation is None:
            raise ValueError(f"a {self.kind} task needs the block `generation`")
        if not self.generates and self.generation is not None:
            raise ValueError(f"a {self.kind} task generates nothing: remove the block `generation`")
        return self
