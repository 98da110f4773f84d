"""Scores as fractions. A correlation of constants is undefined (None); constant predictions have MCC 0; never NaN."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from bench.config.task import Task

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

    stems = _StemmingTokenizer()
    whole, lines = RougeScorer(list(ROUGE[:3]), tokenizer=stems), RougeScorer(["rougeLsum"], tokenizer=stems)
    rows = []
    for prediction, reference in zip(predictions, references, strict=True):
        found = {**whole.score(reference, prediction), **lines.score(in_lines(reference), in_lines(prediction))}
        rows.append({name: float(value.fmeasure) for name, value in found.items()})
    return rows


class _StemmingTokenizer:
    """rouge-score's own tokenizer with its stemmer, which stems each word once: most of the time goes there."""

    def __init__(self) -> None:
        from nltk.stem import porter
        from rouge_score.tokenize import tokenize

        self.stem = lru_cache(maxsize=1 << 16)(porter.PorterStemmer().stem)
        self._tokenize = tokenize

    def tokenize(self, text: str) -> list[str]:
        return list(self._tokenize(text, self))


def in_lines(text: str) -> str:
    """A sentence a line."""
    return text if "\n" in text.strip() else _SENTENCE_END.sub("\n", text.strip())


def _of_classes(metric: str, predictions: Sequence[int], references: Sequence[int], classes: int) -> float:
    """Shares are counted here, so that a task with no other metric never imports scikit-learn (over a second)."""
    if metric in ("accuracy", "exact_match"):
        return sum(p == r for p, r in zip(predictions, references, strict=True)) / len(predictions)
    if metric == "no_label":
        return sum(p < 0 for p in predictions) / len(predictions)
    from sklearn import metrics

    if metric == "mcc":
        return float(metrics.matthews_corrcoef(references, predictions))
    labels = [1] if classes == 2 else None  # with -1 among them, two classes are three for scikit-learn's "binary"
    return float(metrics.f1_score(references, predictions, labels=labels, average="macro", zero_division=0))


def _correlation(metric: str, predictions: Sequence[float], references: Sequence[float]) -> float | None:
    if metric == "mean_correlation":  # as published for STS-B
        both = [_correlation(one, predictions, references) for one in ("pearson", "spearman")]
        return None if None in both else math.fsum(both) / 2  # type: ignore[arg-type]
    from scipy import stats

    if len(set(predictions)) < 2 or len(set(references)) < 2:
        return None
    function = stats.pearsonr if metric == "pearson" else stats.spearmanr
    value = float(function(predictions, references).statistic)
    return value if math.isfinite(value) else None
