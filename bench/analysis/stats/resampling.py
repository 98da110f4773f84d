"""Metrics of resampled examples, all cells of a task and split at once, from predictions.parquet.

Every metric is a function of sums over examples: of hits (accuracy), of a confusion table (MCC, F1), of moments
(Pearson; Spearman: of ranks, which stay those of the whole split). A resample weighs examples, so a matrix product of
weights and per-example columns gives the metric of every resample and cell.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.config.task import Task

Floats = NDArray[np.float64]
DRAWS = 2000
SEED = 20230310
BLOCK = 2_000_000  # weights at a time


@dataclass(frozen=True)
class Sums:
    """Columns (examples x k) whose sums decide a metric, and the metric of such sums (... x k)."""

    columns: Floats
    metric: Callable[[Floats], Floats]


def sums_of(task: Task, metric: str, reference: Any, prediction: Any, score: Any = None) -> Sums | None:
    """How `metric` comes from the examples of one cell; None where the file does not hold enough to say.

    reference, prediction: arrays over examples; score: the tables' metric of each example (summarization).
    """
    if task.kind == "summarization":
        return None if score is None or metric != task.metric else _mean(np.asarray(score, dtype=float))
    if task.kind == "regression":
        x, y = np.asarray(prediction, dtype=float), np.asarray(reference, dtype=float)
        match metric:
            case "mean_correlation":
                return Sums(np.concatenate([_products(x, y), _ranked(x, y)], axis=1), _mean_correlation)
            case "spearman":
                return Sums(_ranked(x, y), _correlation)
            case _:
                return Sums(_products(x, y), _correlation)
    truth, guess = (_classes(task, values) for values in (reference, prediction))
    match metric:
        case "accuracy" | "exact_match":
            return _mean((truth == guess).astype(float))
        case "no_label":
            return _mean((guess < 0).astype(float))
        case _:
            size = len(task.labels) + 1  # the last one: no label at all
            codes = (truth % size) * size + guess % size
            table = (codes[:, None] == np.arange(size * size)).astype(float)
            return Sums(table, _mcc if metric == "mcc" else _f1(len(task.labels)))


def replicates(cells: list[Sums], name: str, draws: int = DRAWS) -> Floats:
    """draws x cells: the metric of each cell on `draws` resamples of the examples, the same resamples for every cell.

    `name` (of task and split) decides the resamples, so that the numbers repeat.
    """
    columns = np.concatenate([cell.columns for cell in cells], axis=1)
    width = [cell.columns.shape[1] for cell in cells]
    generator = np.random.default_rng([SEED, zlib.crc32(name.encode())])
    blocks = [weights @ columns for weights in _weights(len(columns), draws, generator)]
    parts = np.split(np.concatenate(blocks), np.cumsum(width)[:-1], axis=1)
    return np.stack([cell.metric(part) for cell, part in zip(cells, parts, strict=True)], axis=1)


def _weights(examples: int, draws: int, generator: np.random.Generator) -> Iterator[Floats]:
    """How often each example is drawn, in blocks of (some draws) x examples."""
    step = max(1, BLOCK // examples)
    for start in range(0, draws, step):
        size = min(step, draws - start)
        drawn = generator.integers(0, examples, size=(size, examples)) + examples * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * examples)
        yield counts.reshape(size, examples).astype(float)


def _classes(task: Task, values: Any) -> NDArray[np.int64]:
    """Class indices; -1 for a generated text that is no label."""
    array = np.asarray(values)
    if array.dtype.kind in "iuf":
        return array.astype(np.int64)
    index = {label: i for i, label in enumerate(task.labels)}
    return np.array([index.get(str(value).strip(), -1) for value in array])


def _mean(values: Floats) -> Sums:
    count = len(values)
    return Sums(values[:, None], lambda sums: sums[..., 0] / count)


def _table(sums: Floats) -> Floats:
    size = round(sums.shape[-1] ** 0.5)
    return sums.reshape(*sums.shape[:-1], size, size)


def _mcc(sums: Floats) -> Floats:
    """Gorodkin 2004, the R_K statistic; 0 where either side is constant."""
    table = _table(sums)
    truth, guess, total = table.sum(-1), table.sum(-2), table.sum((-2, -1))
    hits = np.trace(table, axis1=-2, axis2=-1)
    above = hits * total - (truth * guess).sum(-1)
    below = (total**2 - (guess**2).sum(-1)) * (total**2 - (truth**2).sum(-1))
    return np.asarray(np.divide(above, np.sqrt(below), out=np.zeros_like(above), where=below > 0))


def _f1(classes: int) -> Callable[[Floats], Floats]:
    """Of class 1 where there are two classes, else the plain mean over classes that occur; 0 where undefined."""

    def f1(sums: Floats) -> Floats:
        table = _table(sums)
        hits = np.diagonal(table, axis1=-2, axis2=-1)
        both = table.sum(-1) + table.sum(-2)
        each = np.divide(2 * hits, both, out=np.zeros_like(both), where=both > 0)
        if classes == 2:
            return np.asarray(each[..., 1])
        occurs = both > 0
        return np.asarray((each * occurs).sum(-1) / occurs.sum(-1))

    return f1


def _products(x: Floats, y: Floats) -> Floats:
    """Examples x 6: what the correlation of x and y comes from."""
    x, y = x - x.mean(), y - y.mean()
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)


def _ranked(x: Floats, y: Floats) -> Floats:
    from scipy.stats import rankdata

    return _products(rankdata(x), rankdata(y))


def _mean_correlation(sums: Floats) -> Floats:
    return np.asarray((_correlation(sums[..., :6]) + _correlation(sums[..., 6:])) / 2)


def _correlation(sums: Floats) -> Floats:
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    below = (n * xx - x * x) * (n * yy - y * y)
    return np.asarray(
        np.divide(n * xy - x * y, np.sqrt(np.maximum(below, 0)), out=np.zeros_like(below), where=below > 0)
    )
