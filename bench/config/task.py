"""Task: a data set, what is read from it, the metrics, the recipe. One YAML file per task in workflow/tasks/."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from bench.config.data import Data
from bench.config.evaluate_metric import EvaluateMetric
from bench.config.generation import Generation
from bench.config.recipe import Recipe
from bench.config.types import Frozen, KeyName, Kind, Label, Positive, label_field
from bench.errors import nearest

# The harness's own metrics of each kind of task. Any kind may name metrics of `evaluate` too (evaluate_metric.py).
METRICS_OF: dict[str, frozenset[str]] = {
    "classification": frozenset({"accuracy", "mcc", "f1"}),
    "regression": frozenset({"pearson", "spearman", "mean_correlation"}),
    "summarization": frozenset({"rouge1", "rouge2", "rougeL", "rougeLsum"}),
    "text-label": frozenset({"exact_match", "accuracy", "mcc", "f1", "no_label"}),
}
LOWER_IS_BETTER = frozenset({"no_label"})  # of all metrics; of one of `evaluate` a higher value counts as better


def _known_metric(name: str) -> str:
    own = sorted(set().union(*METRICS_OF.values()))
    if EvaluateMetric.parse(name) is None and name not in own:
        raise ValueError(f"expected a metric or evaluate:MODULE, found {name!r}{nearest(name, own)}")
    return name


Metric = Annotated[str, AfterValidator(_known_metric)]


class Resources(Frozen):
    """What a job asks for, where the file knows better than the estimate."""

    mem_mb: Positive | None = Field(
        None, description="Host memory of the first attempt, in megabytes. The default null is estimated."
    )
    runtime: Positive | None = Field(
        None, description="Time limit of the first attempt, in minutes. The default null is estimated."
    )
    gpus: int | None = Field(
        None, ge=0, le=1, description="GPUs per process; 0 keeps the job on the CPU. The default null means 1."
    )


class Task(Frozen):
    """One data set with its metrics and its recipe."""

    name: KeyName = Field(description="Name of the task; the file has the same name.")
    label: Label = label_field("task")
    version: Positive = Field(1, description="Raise it when the meaning of the scores changes. The default is 1.")
    kind: Kind = Field(description="What the task predicts; text-label generates the label of a class as text.")
    description: str = Field("", description="One sentence for readers. The default is empty.")
    data: Data = Field(description="The data set and its splits.")
    labels: list[str] = Field(
        [], description="Names of the labels in the order of their indices, for classification and text-label tasks."
    )
    metrics: Annotated[list[Metric], Field(min_length=1, description="Metrics to compute. Tables show the first one.")]
    prefix: str = Field(
        "", description="Text that is put before each source text, such as T5's task prefixes. The default is empty."
    )
    recipe: Recipe = Field(Recipe(), description="How the task is trained. The default is that of every key.")
    generation: Generation | None = Field(
        None, description="How text is generated; required for summarization and text-label tasks."
    )
    rouge_tokenizer: Literal["rouge-score", "words"] = Field(
        "rouge-score",
        description="How ROUGE finds words in a summary: rouge-score keeps a to z and 0 to 9 and stems English; words "
        "keeps the letters of any script, one by one where no spaces set words apart. The default is rouge-score.",
    )
    resources: Resources = Field(Resources(), description="What the task's jobs ask for. The default is estimated.")

    @property
    def data_title(self) -> str:
        """What messages call the task's data."""
        return self.data.title if self.data.hub else f"files of task {self.name!r}"

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
        """Whether the model writes text, so that `generation` applies."""
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
        names = self.data.class_names
        if names is not None and (len(names) != len(self.labels) or len(set(names)) != len(names)):
            raise ValueError(f"data.class_names: expected one name for each of {len(self.labels)} labels, got {names}")
        if self.kind in ("regression", "summarization") and self.labels:
            raise ValueError(f"a {self.kind} task has no labels, got {self.labels}")
        wrong = [m for m in self.metrics if m not in METRICS_OF[self.kind] and EvaluateMetric.parse(m) is None]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is no metric of {self.kind}; it has {sorted(METRICS_OF[self.kind])}")
        if self.generates and self.generation is None:
            raise ValueError(f"a {self.kind} task needs the block `generation`")
        if self.rouge_tokenizer != "rouge-score" and not METRICS_OF["summarization"].intersection(self.metrics):
            raise ValueError(f"rouge_tokenizer {self.rouge_tokenizer!r}: no ROUGE among the metrics {self.metrics}")
        if not self.generates and self.generation is not None:
            raise ValueError(f"a {self.kind} task generates nothing: remove the block `generation`")
        return self
