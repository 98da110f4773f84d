"""Scores as fractions. A correlation of constants is undefined (None); constant predictions have MCC 0; never NaN."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from bench.spec.task import Task

ROUGE = ("rouge1", "rouge2", "rougeL", "rougeLsum")


def score(task: Task, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float | None]:
    """Every metric of `task`. Classes are indices, a text-label task's predictions are texts, -1 is no label at all."""
    if task.kind == "summarization":
        rows = rouge_rows(predictions, references)
        return {m: sum(row[m] for row in rows) / len(rows) for m in task.metrics}
    if task.kind == "regression":
        return {metric: _correlation(metric, predictions, references) for metric in task.metrics}
    return {metric: _of_classes(metric, predictions, references, len(task.labels)) for metric in task.metrics}


def rouge_rows(predictions: Sequence[str], references: Sequence[str]) -> list[dict[str, float]]:
    """F1 of ROUGE-1, -2, -L and -Lsum of each row (rouge-score, stemmed; Lsum takes a line as a sentence)."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(list(ROUGE), use_stemmer=True)
    scored = (scorer.score(r, p) for p, r in zip(predictions, references, strict=True))
    return [{name: float(value.fmeasure) for name, value in row.items()} for row in scored]


def _of_classes(metric: str, predictions: Sequence[int], references: Sequence[int], classes: int) -> float:
    from sklearn import metrics

    match metric:
        case "accuracy" | "exact_match":
            return float(metrics.accuracy_score(references, predictions))
        case "mcc":
            return float(metrics.matthews_corrcoef(references, predictions))
        case "no_label":
            return sum(p < 0 for p in predictions) / len(predictions)
        case _:
            average = "binary" if classes == 2 else "macro"
            return float(metrics.f1_score(references, predictions, average=average, zero_division=0))


def _correlation(metric: str, predictions: Sequence[float], references: Sequence[float]) -> float | None:
    from scipy import stats

    if len(set(predictions)) < 2 or len(set(references)) < 2:
        return None
    function = stats.pearsonr if metric == "pearson" else stats.spearmanr
    value = float(function(predictions, references).statistic)
    return value if math.isfinite(value) else None
