"""The metadata of a card as the hub knows it: base, library, license, data sets, and the scores as a `model-index`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bench.config.evaluate_metric import EvaluateMetric
from bench.config.metric_facts import metric_facts
from bench.publishing.cards.subjects import Subject

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

PROJECT = "rankbench"
# What the hub calls the kinds of task; models are found by it.
TASKS = {
    "classification": "text-classification",
    "image-classification": "image-classification",
    "regression": "text-classification",
    "summarization": "summarization",
    "translation": "translation",
    "text-label": "text-classification",
    "causal-lm": "text-generation",
    "multiple-choice": "text-generation",
    "scored-choice": "multiple-choice",
    "question-answering": "question-answering",
}
SYNTHETIC = "synthetic"  # in place of the name of a data set, which generated rows are not


class HubMetric(NamedTuple):
    """A metric as it is usually written: its identifier, its name, and by what a recorded value is multiplied."""

    type: str
    name: str
    factor: float


# Identifiers of the hub's metrics that differ from ours. ROUGE, BLEU and chrF, and the metrics of SQuAD, are published
# from 0 to 100; the others as fractions.
_TYPES = {
    "mcc": "matthews_correlation",
    "pearson": "pearsonr",
    "spearman": "spearmanr",
    "rouge1": "rouge",
    "rouge2": "rouge",
    "rougeL": "rouge",
    "rougeLsum": "rouge",
    "accuracy_normalized": "acc_norm",
}
_PERCENT = frozenset({"rouge1", "rouge2", "rougeL", "rougeLsum", "bleu", "chrf"})


def hub_metric(metric: str, kind: str) -> HubMetric:
    """How the community writes `metric` of a task of that `kind`.

    A metric of the library `evaluate` has its module's own scale.

    >>> hub_metric("mcc", "classification")
    HubMetric(type='matthews_correlation', name='MCC', factor=1.0)
    """
    if (module := EvaluateMetric.parse(metric)) is not None:
        return HubMetric(module.short_name, module.label, module.scale)
    factor = 100.0 if metric in _PERCENT or kind == "question-answering" else 1.0
    return HubMetric(_TYPES.get(metric, metric), metric_facts(metric).name, factor)


def card_data(subject: Subject) -> ModelCardData:
    """The metadata of the card of `subject`."""
    from huggingface_hub import ModelCardData

    cell, base = subject.cell, subject.cell.backbone.hub_name
    relation = "adapter" if subject.form == "adapter" else "finetune"
    metrics = [hub_metric(metric, cell.task.kind).type for metric in cell.task.metrics]
    tags = [*(["synthetic-data"] if subject.synthetic else []), cell.method.name, PROJECT]
    return ModelCardData(
        base_model=base,
        base_model_relation=relation if base else None,
        library_name="peft" if subject.form == "adapter" else "transformers",
        pipeline_tag=TASKS[cell.task.kind],
        license=cell.backbone.license,
        datasets=[cell.task.data.hub] if cell.task.data.hub and not subject.synthetic else None,
        metrics=list(dict.fromkeys(metrics)),
        tags=tags,
        model_name=subject.title,
        eval_results=eval_results(subject) or None,
    )


def eval_results(subject: Subject) -> list[EvalResult]:
    """One entry per score. One that is undefined is left out, since the hub has no way to say so."""
    return [_result(subject, split, metric, value) for split, metric, value in subject.scores if value is not None]


def _result(subject: Subject, split: str, metric: str, value: float) -> EvalResult:
    from huggingface_hub import EvalResult

    task = subject.cell.task
    hub, data, rows = hub_metric(metric, task.kind), task.data.for_evaluation, subject.rows.get(split)
    named = data.hub is not None and not subject.synthetic
    recorded = subject.record.data
    own_name = task.label if data.hub == task.data.hub else str(data.hub)
    return EvalResult(
        task_type=TASKS[task.kind],
        task_name=task.kind,
        dataset_type=SYNTHETIC if subject.synthetic else data.hub or task.name,
        dataset_name=f"generated rows of {PROJECT} ({data.embedded})" if subject.synthetic else own_name,
        dataset_config=data.config if named else None,
        dataset_split=data.evaluation.get(split, split) if named else split,
        dataset_revision=recorded.get("evaluation_revision", recorded.get("revision")) if named else None,
        dataset_args={"num_rows": rows} if rows is not None else None,
        metric_type=hub.type,
        metric_name=hub.name,
        metric_value=value * hub.factor,
    )
