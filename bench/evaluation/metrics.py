"""Scores as fractions. A correlation of constants is undefined (None); constant predictions have MCC 0; never NaN."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from bench.spec.task import Task

ROUGE = ("rouge1", "rouge2", "rougeL", "rougeLsum")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


def score(task: Task, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float | None]:
    """Every metric of `task`: of texts (summarization), numbers (regression) or class indices (-1: no label at all)."""
    if task.kind == "summarization":
        return mean_of_rows(task, rouge_rows(predictions, references))
    if task.kind == "regression":
        return {metric: _correlation(metric, predictions, references) for metric in task.metrics}
    return {metric: _of_classes(metric, predictions, references, len(task.labels)) for metric in task.metrics}


def mean_of_rows(task: Task, rows: Sequence[Mapping[str, float]]) -> dict[str, float | None]:
    """The plain mean over all rows of each metric of `task`."""
    return {metric: math.fsum(row[metric] for row in rows) / len(rows) for metric in task.metrics}


def rouge_rows(predictions: Sequence[str], references: Sequence[str]) -> list[dict[str, float]]:
    """F1 of ROUGE-1, -2, -L and -Lsum (Lin 2004) of each row, by rouge-score with stemming, as published numbers are.

    ROUGE-Lsum compares sentence by sentence. A sentence is a line; a text of one line is split behind . ! and ?.
    """
    from rouge_score.rouge_scorer import RougeScorer

    whole, lines = RougeScorer(list(ROUGE[:3]), use_stemmer=True), RougeScorer(["rougeLsum"], use_stemmer=True)
    rows = []
    for prediction, reference in zip(predictions, references, strict=True):
        found = {**whole.score(reference, prediction), **lines.score(in_lines(reference), in_lines(prediction))}
        rows.append({name: float(value.fmeasure) for name, value in found.items()})
    return rows


def in_lines(text: str) -> str:
    """A sentence a line."""
    return text if "\n" in text.strip() else _SENTENCE_END.sub("\n", text.strip())


def _of_classes(metric: str, predictions: Sequence[int], references: Sequence[int], classes: int) -> float:
    """From the table of counts [classes + 1, classes + 1] of references by predictions; the last are no label."""
    table = [[0] * (classes + 1) for _ in range(classes + 1)]
    for reference, prediction in zip(references, predictions, strict=True):
        table[reference][prediction] += 1
    match metric:
        case "accuracy" | "exact_match":
            return sum(table[k][k] for k in range(-1, classes)) / len(predictions)
        case "mcc":
            return _matthews(table)
        case "no_label":
            return sum(p < 0 for p in predictions) / len(predictions)
        case _:
            return _f1(table, classes)


def _matthews(table: Sequence[Sequence[int]]) -> float:
    """Correlation of the classes (Gorodkin 2004); 0 where predictions or references are all of one class."""
    true, predicted = [sum(row) for row in table], [sum(column) for column in zip(*table, strict=True)]
    rows, hits = sum(true), sum(row[k] for k, row in enumerate(table))
    together = hits * rows - sum(t * p for t, p in zip(true, predicted, strict=True))
    spread = (rows * rows - sum(p * p for p in predicted)) * (rows * rows - sum(t * t for t in true))
    return together / math.sqrt(spread) if spread else 0.0


def _f1(table: Sequence[Sequence[int]], classes: int) -> float:
    """Of the second of two classes, else the mean over all that occur; a class that never occurs right has 0."""
    both = [sum(row) + sum(other[k] for other in table) for k, row in enumerate(table)]
    if classes == 2:
        return 2 * table[1][1] / both[1] if both[1] else 0.0
    occurring = [k for k, count in enumerate(both) if count]
    return sum(2 * table[k][k] / both[k] for k in occurring) / len(occurring)


def _correlation(metric: str, predictions: Sequence[float], references: Sequence[float]) -> float | None:
    from scipy import stats

    if len(set(predictions)) < 2 or len(set(references)) < 2:
        return None
    function = stats.pearsonr if metric == "pearson" else stats.spearmanr
    value = float(function(predictions, references).statistic)
    return value if math.isfinite(value) else None
