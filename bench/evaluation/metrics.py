"""The harness's own metrics, as fractions: shares and MCC and F1 of classes, correlations of numbers, ROUGE, BLEU
and chrF of texts. The perplexity, which is none, is in `perplexity.py`.

A metric is never NaN: a correlation of constants is undefined (None), and constant predictions have an MCC of 0.

Generated text that is no label is the prediction -1, as is a class whose logits are NaN. It is wrong in every metric:
accuracy misses the row, F1 counts a miss for the true class, and MCC (Gorodkin 2004, R_K) takes it as a class that is
never the truth. F1 is that of the second of two labels, or the mean over more than two of those that occur in truth or
predictions. It is 0 where neither holds the second of two.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bench.config.extract import answer_in
from bench.config.kinds import ROUGE
from bench.config.task import Task
from bench.evaluation.answers import answer_rows
from bench.evaluation.corpus_scores import corpus_scores
from bench.evaluation.rouge import rouge_rows

OF_DETAILS = frozenset({"accuracy_normalized"})  # metrics of what is predicted beside a row's prediction


def score(task: Task, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float | None]:
    """Every metric of `task` that is the harness's own and follows from predictions.

    `predictions` and `references` hold texts (summarization, translation, causal-lm), answers (question-answering),
    numbers (regression) or indices of classes and options (the others, where -1 is a text that is no label).

    >>> score(task, predictions=[0, 1, 1], references=[0, 1, 0])
    {'accuracy': 0.6666666666666666}
    """
    of_rows = mean_of_rows(own_rows(task, predictions, references))
    return {**of_rows, **score_together(task, predictions, references)}


def own_rows(task: Task, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, list[float]]:
    """The score of each row, by metric, for those of the harness's own that are means over rows of texts or answers."""
    if task.facts.target == "span":
        return answer_rows(task, predictions, references)
    return text_rows(task, predictions, references) if task.facts.target == "text" else {}


def score_together(task: Task, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float | None]:
    """The harness's own metrics that are computed from all rows at once."""
    if task.facts.target == "span":
        return {}
    if task.facts.target == "text":
        return corpus_scores(task, predictions, references)
    metrics = [metric for metric in own_metrics(task) if metric not in OF_DETAILS]
    if task.facts.target == "number":
        return {metric: _correlation(metric, predictions, references) for metric in metrics}
    return {metric: _of_classes(metric, predictions, references, len(task.labels)) for metric in metrics}


def own_metrics(task: Task) -> list[str]:
    """The metrics of `task` that are computed here, not by a module of the library `evaluate`."""
    return [metric for metric in task.metrics if metric in task.facts.metrics]


def text_rows(task: Task, predictions: Sequence[str], references: Sequence[str]) -> dict[str, list[float]]:
    """By metric of `task`, the score of each text: ROUGE, and whether the two give the same answer (`task.extract`)."""
    rows = rouge_rows(task, predictions, references) if ROUGE.intersection(task.metrics) else {}
    if "exact_match" in task.metrics:
        wanted = [answer_in(reference, task.extract) for reference in references]
        given = [answer_in(prediction, task.extract) for prediction in predictions]
        rows["exact_match"] = [float(a is not None and a == b) for a, b in zip(given, wanted, strict=True)]
    return rows


def mean_of_rows(rows: Mapping[str, Sequence[float]]) -> dict[str, float | None]:
    """The plain mean over all rows of each metric."""
    return {metric: math.fsum(values) / len(values) for metric, values in rows.items()}


def _of_classes(metric: str, predictions: Sequence[int], references: Sequence[int], classes: int) -> float:
    # Shares are counted by hand: a task that needs nothing else never imports scikit-learn, which takes over a second.
    if metric in ("accuracy", "exact_match"):
        return sum(p == r for p, r in zip(predictions, references, strict=True)) / len(predictions)
    if metric == "no_label":
        return sum(p < 0 for p in predictions) / len(predictions)
    from sklearn import metrics

    if metric == "mcc":
        return float(metrics.matthews_corrcoef(references, predictions))
    # The classes are the task's labels: a -1 is a miss for its true class, and none of those that are averaged over.
    # NaN leaves a label that neither side has out of the mean, as scikit-learn does when it finds the labels itself.
    labels, undefined = ([1], 0.0) if classes == 2 else (list(range(classes)), math.nan)
    return float(metrics.f1_score(references, predictions, labels=labels, average="macro", zero_division=undefined))


def _correlation(metric: str, predictions: Sequence[float], references: Sequence[float]) -> float | None:
    if metric == "mean_correlation":  # as published for STS-B
        both = [_correlation(name, predictions, references) for name in ("pearson", "spearman")]
        return None if None in both else math.fsum(both) / 2  # type: ignore[arg-type]
    from scipy import stats

    if len(set(predictions)) < 2 or len(set(references)) < 2:
        return None
    function = stats.pearsonr if metric == "pearson" else stats.spearmanr
    value = float(function(predictions, references).statistic)
    return value if math.isfinite(value) else None
