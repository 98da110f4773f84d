"""Task: a data set, what is read from it, the metrics, the recipe. One YAML file per task in workflow/tasks/."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from bench.config.answers import Answers
from bench.config.data import Data
from bench.config.evaluate_metric import PREFIX, EvaluateMetric
from bench.config.extract import Extract
from bench.config.generation import Generation
from bench.config.kinds import KINDS, ROUGE, KindFacts
from bench.config.languages import Languages
from bench.config.metric_facts import OF_LIKELIHOODS, MetricFacts, metric_facts
from bench.config.prompt import OPTION, Prompt
from bench.config.recipe import Recipe
from bench.config.types import Frozen, KeyName, Kind, Label, License, Positive, label_field
from bench.errors import FaultAt, nearest

_OWN_METRICS = sorted(set().union(*(facts.metrics for facts in KINDS.values())))


def _known_metric(name: str) -> str:
    if EvaluateMetric.parse(name) is None and name not in _OWN_METRICS:
        raise ValueError(f"expected a metric or evaluate:MODULE, found {name!r}{nearest(name, _OWN_METRICS)}")
    return name


_METRIC_SCHEMA = {"anyOf": [{"enum": _OWN_METRICS}, {"type": "string", "pattern": f"^{PREFIX}"}]}
Metric = Annotated[str, AfterValidator(_known_metric), WithJsonSchema(_METRIC_SCHEMA)]


OPTIONS = 4  # of a row of most data sets with options
NO_TEXTS = "perplexity is that of the tokens of target texts, which causal-lm, summarization and translation tasks have"


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
    kind: Kind = Field(
        description="What the task predicts. text-label generates the label of a class as text; causal-lm and "
        "multiple-choice are for decoders; question-answering finds the answer in a text."
    )
    description: str = Field("", description="One sentence for readers. The default is empty.")
    data: Data = Field(description="The data set and its splits.")
    license: License | None = Field(
        None,
        description="License of the data set, as the hub writes it; other where its parts have their own. The default "
        "null means that it is not recorded.",
    )
    labels: list[str] = Field(
        [],
        description="Names of the labels in the order of their indices, for classification and text-label tasks; of a "
        "multiple-choice task the options of all rows, where no column holds them.",
    )
    metrics: Annotated[list[Metric], Field(min_length=1, description="Metrics to compute. Tables show the first one.")]
    smaller_is_better: dict[Metric, bool] = Field(
        {},
        description="Which end of a metric of `evaluate` is better, under its name in `metrics`: true where less is. "
        "The default is true for modules and entries that count errors (wer, cer, ter, mse, mae and others of that "
        "library), false for all others.",
    )
    prefix: str = Field(
        "", description="Text that is put before each source text, such as T5's task prefixes. The default is empty."
    )
    prompt: Prompt | None = Field(
        None, description="How a row is put to a decoder; required for causal-lm and multiple-choice tasks."
    )
    extract: Extract | None = Field(
        None,
        description="Which part of a generated text is compared by exact_match: last_number, letter, or after: and a "
        "mark, such as '####'. The default null compares the whole text.",
    )
    languages: Languages | None = Field(
        None,
        description="From which language into which a translation task translates, for tokenizers that write it as a "
        "token; others are not given it. The default null is for those others.",
    )
    answers: Answers | None = Field(
        None,
        description="Of a question-answering task: how contexts are read and answers chosen. The default null is the "
        "default of every key.",
    )
    recipe: Recipe = Field(Recipe(), description="How the task is trained. The default is that of every key.")
    generation: Generation | None = Field(
        None,
        description="How text is generated; required for summarization, translation, text-label and causal-lm tasks.",
    )
    rouge_tokenizer: Literal["rouge-score", "words"] = Field(
        "rouge-score",
        description="How ROUGE finds words in a summary: rouge-score keeps a to z and 0 to 9 and stems English; words "
        "keeps the letters of any script, one by one where no spaces set words apart. The default is rouge-score.",
    )
    bleu_tokenizer: Literal["13a", "intl", "zh", "char"] = Field(
        "13a",
        description="How BLEU finds words, by sacrebleu: 13a as published for European languages, intl for words of "
        "other scripts, zh for Chinese, char letter by letter. The default is 13a.",
    )
    resources: Resources = Field(Resources(), description="What the task's jobs ask for. The default is estimated.")

    @property
    def data_title(self) -> str:
        """What messages call the task's data."""
        return self.data.title if self.data.files is None else f"files of task {self.name!r}"

    @property
    def for_evaluation(self) -> Task:
        """The task as its evaluation splits are read, which may belong to another data set."""
        return self if self.data.evaluation_from is None else self.model_copy(update={"data": self.data.for_evaluation})

    @property
    def primary_split(self) -> str:
        """The evaluation split that the tables show."""
        return next(iter(self.data.evaluation))

    @property
    def metric(self) -> str:
        """The metric that the tables show."""
        return self.metrics[0]

    def metric_facts(self, metric: str) -> MetricFacts:
        """How `metric` of this task is written, and which end of it is better."""
        return metric_facts(metric, self.smaller_is_better)

    @property
    def facts(self) -> KindFacts:
        """What follows from the task's kind."""
        return KINDS[self.kind]

    @property
    def generates(self) -> bool:
        """Whether the model writes a text when evaluated, so that `generation` applies; for perplexity it does not."""
        return self.facts.writes and not OF_LIKELIHOODS.issuperset(self.metrics)

    @property
    def sequences_per_row(self) -> int:
        """Sequences that an encoder reads of a row: as many as it has options, or OPTIONS where only the rows know."""
        if self.facts.target != "option" or self.facts.family != "encoder":
            return 1
        options = self.data.columns.options
        return OPTIONS if isinstance(options, str) else len(options or self.labels)

    @property
    def classes(self) -> bool:
        """Whether the target of a row is one of `labels`."""
        return self.facts.target == "class" or (self.facts.target == "option" and self.data.columns.options is None)

    @property
    def answering(self) -> Answers:
        """`answers`, with its defaults filled in."""
        return self.answers or Answers()

    @model_validator(mode="after")
    def _consistent(self) -> Task:
        parts: tuple[tuple[str, Callable[[], Iterator[str]]], ...] = (
            ("labels", self._faults_of_labels),
            ("metrics", self._faults_of_metrics),
            ("data.columns", self._faults_of_columns),
            ("prompt", self._faults_of_prompt),
            ("answers", self._faults_of_answers),
            ("generation", self._faults_of_generation),
        )
        for key, faults in parts:
            for fault in faults():
                raise FaultAt(key, fault)
        return self

    def _faults_of_generation(self) -> Iterator[str]:
        if self.generates and self.generation is None:
            yield f"a {self.kind} task needs the block `generation`"
        if not self.generates and self.generation is not None:
            of_what = f"with the metrics {self.metrics} " if self.facts.writes else ""
            yield f"a {self.kind} task {of_what}generates nothing: remove the block `generation`"
        if self.generation is not None and self.generation.stop and self.facts.family != "decoder":
            yield "generation.stop is for decoders: other models learn where a text ends"

    def _faults_of_labels(self) -> Iterator[str]:
        if self.classes and len(self.labels) < 2:
            yield f"a {self.kind} task names at least two labels, got {self.labels}"
        if len(set(self.labels)) != len(self.labels):
            yield f"labels repeat: {self.labels}"
        blank = [label for label in self.labels if not label or label != label.strip()]
        if blank:
            yield f"label {blank[0]!r} is empty or has a blank at an end"
        names = self.data.class_names
        if names is not None and (len(names) != len(self.labels) or len(set(names)) != len(names)):
            yield f"data.class_names: expected one name for each of {len(self.labels)} labels, got {names}"
        if not self.classes and self.labels:
            what = "takes its options from a column" if self.facts.target == "option" else "has no labels"
            yield f"a {self.kind} task {what}, got {self.labels}"

    def _faults_of_metrics(self) -> Iterator[str]:
        own = self.facts.metrics
        wrong = [m for m in self.metrics if m not in own and EvaluateMetric.parse(m) is None]
        if wrong:
            why = f": {NO_TEXTS}" if wrong[0] in OF_LIKELIHOODS else ""
            yield f"{wrong[0]!r} is no metric of {self.kind}{why}; it has {sorted(own)}"
        for metric in self.smaller_is_better:
            if metric not in self.metrics:
                yield f"smaller_is_better: {metric!r} is none of the metrics{nearest(metric, self.metrics)}"
            elif EvaluateMetric.parse(metric) is None:
                known = "is" if metric_facts(metric).lower_is_better else "is not"
                yield f"smaller_is_better: of {metric!r} it is known that less {known} better; leave it out"
        if self.rouge_tokenizer != "rouge-score" and not ROUGE.intersection(self.metrics):
            yield f"rouge_tokenizer {self.rouge_tokenizer!r}: no ROUGE among the metrics {self.metrics}"
        if self.bleu_tokenizer != "13a" and "bleu" not in self.metrics:
            yield f"bleu_tokenizer {self.bleu_tokenizer!r}: no bleu among the metrics {self.metrics}"
        if self.languages is not None and self.kind != "translation":
            yield f"languages: a {self.kind} task translates nothing"
        if self.extract is not None and (self.kind != "causal-lm" or "exact_match" not in self.metrics):
            yield "extract is for exact_match of causal-lm tasks, which is not among the metrics"

    def _faults_of_answers(self) -> Iterator[str]:
        columns = self.data.columns.text
        if self.facts.target != "span":
            if self.answers is not None:
                yield f"a {self.kind} task finds no answers in a text: remove the block `answers`"
            return
        if len(columns) != 2:
            yield f"data.columns.text: a {self.kind} task reads two columns, question and context, got {columns}"
        module = next((metric for metric in self.metrics if EvaluateMetric.parse(metric) is not None), None)
        if module is not None:
            own = sorted(self.facts.metrics)
            yield f"{module!r}: answers are not given to modules of `evaluate`; {self.kind} has {own}"
        if self.answers is not None and self.answers.threshold and not self.answers.no_answer:
            yield "answers.threshold has no effect without `no_answer: true`"

    def _faults_of_columns(self) -> Iterator[str]:
        columns, decoder = self.data.columns, self.facts.family == "decoder"
        if not columns.inputs and not decoder:
            yield f"a {self.kind} task reads a text or an image: give either `text`, the columns of texts, or `image`"
        if not columns.inputs and self.generates:
            yield (
                "data.columns.text: without a column of the row every prompt is the same, so every text that is "
                "written; plain language modeling has `metrics: [perplexity]` alone"
            )
        if (columns.image is not None) != (self.facts.input == "image"):
            yield f"data.columns.{'image' if columns.image else 'text'}: a {self.kind} task reads {self.facts.input}s"
        if self.facts.input == "image" and self.prefix:
            yield f"prefix: a {self.kind} task reads no texts"
        if columns.options is not None and self.facts.target != "option":
            yield f"data.columns.options: a {self.kind} task has no options"
        if not decoder and self.facts.target != "option" and len(columns.text) > 2:
            yield f"data.columns.text: a {self.kind} task reads one or two columns, got {columns.text}"

    def _faults_of_prompt(self) -> Iterator[str]:
        columns, decoder = self.data.columns, self.facts.family == "decoder"
        if decoder and self.prefix:
            yield f"prefix: a {self.kind} task says in `prompt` what stands before a text"
        if decoder != (self.prompt is not None):
            need = "needs the block `prompt`, by which it reads a row" if decoder else "has no `prompt`: remove it"
            yield f"a {self.kind} task {need}"
        if self.prompt is not None:
            learned = OPTION if self.facts.target == "option" else columns.target
            yield from self.prompt.faults(columns.text, [*columns.text, learned])
