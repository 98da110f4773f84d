"""Bootstrap over examples: the metric of every cell on the same resamples, from the saved predictions.

Every metric is a function of sums over examples: of hits (accuracy), of a confusion matrix (MCC, F1), of moments
(Pearson's r; for Spearman's ρ the moments of the ranks), or of matching n-grams (BLEU, chrF). A resample only weights
the examples, so one matrix product of weights (draws x examples) and per-example columns (examples x columns) gives the
metric for all draws and all cells. `scipy.stats.bootstrap` would call the metric once per draw and cell.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from bench.analysis.stats.corpus import COUNTS
from bench.config.task import Task

Array = NDArray[Any]
Floats = NDArray[np.float64]
DRAWS = 2000
SEED = 20230310
WEIGHTS_PER_BLOCK = 2_000_000  # 16 MB; all draws at once would take gigabytes for a large split


@dataclass(frozen=True)
class Sums:
    """A metric as a function of sums: `columns` is examples x k, and `metric` maps sums (... x k) to values (...).

    `share` marks the share of examples of which something is true: one column of zeros and ones.
    """

    columns: Floats
    metric: Callable[[Floats], Floats]
    share: bool = False


def sums_of(task: Task, metric: str, reference: Array, prediction: Array, score: Array | None = None) -> Sums | None:
    """How `metric` is computed from one cell's predictions; None where these do not hold enough to compute it.

    `reference` and `prediction` are arrays over the examples. `score` is the metric of each example, where it is saved:
    for ROUGE, for metrics of answers, and for those metrics of the library `evaluate` that are means over examples.
    """
    if score is not None:
        scores = np.asarray(score, dtype=float)
        return replace(_mean(scores), share=bool(np.isin(scores, (0, 1)).all()))
    if metric in COUNTS:
        corpus = COUNTS[metric]
        return Sums(corpus.of_rows(task, prediction.tolist(), reference.tolist()), corpus.metric)
    if task.facts.target in ("text", "span") or metric not in task.facts.metrics:
        return None
    if task.facts.target == "number":
        predicted, truth = np.asarray(prediction, dtype=float), np.asarray(reference, dtype=float)
        match metric:
            case "mean_correlation":
                columns = np.concatenate([_moments(predicted, truth), _rank_moments(predicted, truth)], axis=1)
                return Sums(columns, _mean_correlation)
            case "spearman":
                return Sums(_rank_moments(predicted, truth), _correlation)
            case _:
                return Sums(_moments(predicted, truth), _correlation)
    truth, predicted = _class_indices(task, reference), _class_indices(task, prediction)
    match metric:
        case "accuracy" | "exact_match":
            return _share(truth == predicted)
        case "no_label":
            return _share(predicted < 0)
        case _:
            size = len(task.labels) + 1  # the last class stands for generated text that is no label
            # One code per pair of truth and prediction; the modulus maps -1, no label, to the last class.
            codes = (truth % size) * size + predicted % size
            one_hot = (codes[:, None] == np.arange(size * size)).astype(float)
            return Sums(one_hot, _mcc if metric == "mcc" else _f1(len(task.labels)))


def replicates(cells: Sequence[Sums], name: str, draws: int = DRAWS) -> Floats:
    """draws x cells: the metric of each cell on `draws` resamples of the examples, the same resamples for every cell.

    `name` (of task and split) decides the resamples, so that a table made again holds the same numbers.
    """
    # The columns of all cells side by side: one matmul per block of draws, whatever the number of cells.
    columns = np.concatenate([cell.columns for cell in cells], axis=1)
    widths = [cell.columns.shape[1] for cell in cells]
    generator = np.random.default_rng([SEED, zlib.crc32(name.encode())])  # hash() differs from process to process
    sums = np.concatenate([weights @ columns for weights in _weights(len(columns), draws, generator)])
    sums_by_cell = np.split(sums, np.cumsum(widths)[:-1], axis=1)
    return np.stack([cell.metric(part) for cell, part in zip(cells, sums_by_cell, strict=True)], axis=1)


def leave_one_out(cell: Sums) -> Floats:
    """The metric without each of the examples, up to a factor for a mean over examples."""
    return cell.metric(cell.columns.sum(axis=0) - cell.columns)


def _weights(examples: int, draws: int, generator: np.random.Generator) -> Iterator[Floats]:
    """How often each example is drawn, in blocks of (some draws) x examples."""
    draws_per_block = max(1, WEIGHTS_PER_BLOCK // examples)
    for start in range(0, draws, draws_per_block):
        size = min(draws_per_block, draws - start)
        # Shifted by draw, so that one bincount counts the examples of all draws of the block.
        drawn = generator.integers(0, examples, size=(size, examples)) + examples * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * examples)
        yield counts.reshape(size, examples).astype(float)


def _class_indices(task: Task, values: Array) -> NDArray[np.int64]:
    """Class indices; -1 for generated text that is no label."""
    array = np.asarray(values)
    if array.dtype.kind in "iuf":  # classification saves indices, text-label saves the generated text
        return array.astype(np.int64)
    # Whitespace around a generated label is no error, as in the evaluation after training.
    index = {label: i for i, label in enumerate(task.labels)}
    return np.array([index.get(str(value).strip(), -1) for value in array])


def _mean(values: Floats) -> Sums:
    count = len(values)
    return Sums(values[:, None], lambda sums: sums[..., 0] / count)


def _share(holds: NDArray[np.bool_]) -> Sums:
    return replace(_mean(holds.astype(float)), share=True)


def _confusion_matrix(sums: Floats) -> Floats:
    """(... x k^2) to (... x k x k): truth by row, prediction by column."""
    size = round(sums.shape[-1] ** 0.5)
    return sums.reshape(*sums.shape[:-1], size, size)


def _mcc(sums: Floats) -> Floats:
    """Matthews correlation for any number of classes (Gorodkin 2004, R_K); 0 where either side is constant."""
    matrix = _confusion_matrix(sums)
    truth, predicted, total = matrix.sum(-1), matrix.sum(-2), matrix.sum((-2, -1))
    hits = np.trace(matrix, axis1=-2, axis2=-1)
    covariance = hits * total - (truth * predicted).sum(-1)
    variances = (total**2 - (predicted**2).sum(-1)) * (total**2 - (truth**2).sum(-1))
    return np.asarray(np.divide(covariance, np.sqrt(variances), out=np.zeros_like(covariance), where=variances > 0))


def _f1(classes: int) -> Callable[[Floats], Floats]:
    """F1 of class 1 if there are two labels, else the plain mean over the labels that occur; 0 where undefined.

    The last class of the confusion matrix, no label, is a miss for the true class and none of those averaged over.
    """

    def f1(sums: Floats) -> Floats:
        matrix = _confusion_matrix(sums)
        hits = np.diagonal(matrix, axis1=-2, axis2=-1)
        occurrences = matrix.sum(-1) + matrix.sum(-2)
        per_class = np.divide(2 * hits, occurrences, out=np.zeros_like(occurrences), where=occurrences > 0)
        if classes == 2:
            return np.asarray(per_class[..., 1])
        per_class, occurs = per_class[..., :classes], occurrences[..., :classes] > 0
        # Without its only row a split has no class.
        return np.asarray((per_class * occurs).sum(-1) / np.maximum(occurs.sum(-1), 1))

    return f1


def _moments(x: Floats, y: Floats) -> Floats:
    """examples x 6: 1, x, y, x^2, y^2, xy, from whose sums the correlation of x and y is computed."""
    x, y = x - x.mean(), y - y.mean()  # changes no correlation, and keeps the sums of squares exact
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)


def _rank_moments(x: Floats, y: Floats) -> Floats:
    """The moments of the ranks. A resample keeps the ranks of the whole split."""
    return _moments(rankdata(x), rankdata(y))


def _mean_correlation(sums: Floats) -> Floats:
    """The mean of Pearson's r (first six sums) and Spearman's ρ (last six), as GLUE reports for STS-B."""
    return np.asarray((_correlation(sums[..., :6]) + _correlation(sums[..., 6:])) / 2)


def _correlation(sums: Floats) -> Floats:
    """Pearson's r from the sums of `_moments`; 0 where either side is constant."""
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    variances = (n * xx - x * x) * (n * yy - y * y)
    deviations = np.sqrt(np.maximum(variances, 0))
    return np.asarray(np.divide(n * xy - x * y, deviations, out=np.zeros_like(variances), where=variances > 0))
