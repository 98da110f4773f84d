"""Compare two methods at one task and budget, paired over the seeds that both finished and over the same examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.analysis.results import Results, metric_value
from bench.analysis.stats.paired import Interval, detectable, detectable_bounds, mcnemar, paired_interval, sign_flip
from bench.analysis.stats.resampling import DRAWS, Array, Floats, Sums, replicates, sums_of
from bench.errors import BenchError

REQUIRED_COLUMNS = ("split", "row", "reference", "prediction")
TOLERANCE = 1e-6  # between a recorded metric and the same metric computed from the saved predictions
Predictions = dict[str, dict[str, Array]]  # by split and column: an array over the examples


@dataclass(frozen=True)
class Contrast:
    """Second method minus first method, in one metric on one split of a task, at one budget."""

    task: str
    split: str
    metric: str
    budget: str
    first: str
    second: str


@dataclass(frozen=True)
class Comparison:
    """The estimate of a contrast, in fractions.

    Attributes:
        seeds: those on which both methods have a score.
        difference: mean over these seeds.
        interval: None where nothing shows the spread (one seed without predictions, or seeds that agree exactly).
        examples: how many; None if the predictions are not known, so that the interval stands on seeds alone.
        sign_flip_p: see `paired.sign_flip`.
        mcnemar_p: one exact p per seed; empty for metrics other than a share of right examples.
    """

    contrast: Contrast
    seeds: tuple[int, ...]
    difference: float
    interval: Interval | None
    examples: int | None
    sign_flip_p: float
    mcnemar_p: tuple[float, ...]

    @property
    def clear(self) -> bool:
        """Whether the interval excludes zero and stands on more than one seed."""
        return self.interval is not None and self.interval.excludes_zero and len(self.seeds) > 1

    @cached_property
    def detectable(self) -> float | None:
        """The smallest true difference that would be found with 80% power; None where nothing shows the spread."""
        return detectable(self.interval) if self.interval else None

    @cached_property
    def detectable_bounds(self) -> tuple[float, float] | None:
        """The 95% interval of `detectable`; None where only examples show a spread."""
        return detectable_bounds(self.interval) if self.interval else None


@dataclass(frozen=True)
class Resamples:
    """The metric of several cells on the same resamples: `draws` (draws x cells), and the column of each cell id."""

    columns: dict[str, int]
    draws: Floats
    examples: int

    def differences(self, pairs: Sequence[tuple[str, str]]) -> Floats | None:
        """draws x pairs: second cell minus first. None if the predictions of some cell are not known."""
        if not all(cell_id in self.columns for pair in pairs for cell_id in pair):
            return None
        first, second = ([self.columns[pair[side]] for pair in pairs] for side in (0, 1))
        return self.draws[:, second] - self.draws[:, first]


@dataclass
class Comparer:
    """Estimates contrasts within one study. It reads each file of predictions once and resamples each split once.

    Attributes:
        predictions: by cell id; None for a cell without the file. Cells that are not in it are read from disk.
        draws: number of bootstrap resamples.
    """

    results: Results
    predictions: dict[str, Predictions | None] = field(default_factory=dict)
    draws: int = DRAWS
    _resamples: dict[tuple[str, str, str], Resamples] = field(default_factory=dict)

    def compare(self, contrast: Contrast) -> Comparison | None:
        """The estimate of a contrast; None if no seed has a score of both methods.

        Raises BenchError if saved predictions cannot be read or do not give the recorded metric.
        """
        first, second = self._scores(contrast, contrast.first), self._scores(contrast, contrast.second)
        seeds = tuple(sorted(first.keys() & second.keys()))
        if not seeds:
            return None
        # Only seeds that both methods finished, so that an easier seed favors neither.
        differences = [second[seed][1] - first[seed][1] for seed in seeds]
        pairs = [(first[seed][0], second[seed][0]) for seed in seeds]
        # All cells of the task are resampled at once, also those outside this contrast: later contrasts reuse them.
        resamples = self._resample(contrast.task, contrast.split, contrast.metric)
        resampled = resamples.differences(pairs)
        return Comparison(
            contrast=contrast,
            seeds=seeds,
            difference=float(np.mean(differences)),
            interval=paired_interval(differences, resampled),
            examples=None if resampled is None else resamples.examples,
            sign_flip_p=sign_flip(differences),
            mcnemar_p=() if resampled is None else self._mcnemar(contrast, pairs),
        )

    def _scores(self, contrast: Contrast, method: str) -> dict[int, tuple[str, float]]:
        """By seed: cell id and score, for the seeds that have a score."""
        scores = {}
        for record in self.results.successful(contrast.task, method, contrast.budget):
            value = metric_value(record, contrast.split, contrast.metric)
            if value is not None:
                scores[record.cell.seed] = (record.cell.id, value)
        return scores

    def _mcnemar(self, contrast: Contrast, pairs: Sequence[tuple[str, str]]) -> tuple[float, ...]:
        if contrast.metric not in ("accuracy", "exact_match"):  # only these are a share of right examples
            return ()
        return tuple(
            mcnemar(self._is_right(contrast, first), self._is_right(contrast, second)) for first, second in pairs
        )

    def _is_right(self, contrast: Contrast, cell_id: str) -> NDArray[np.bool_]:
        sums = self._sums(contrast.task, contrast.split, contrast.metric, cell_id)
        assert sums is not None  # called only for cells whose predictions are known
        return np.asarray(sums.columns[:, 0] == 1)

    def _resample(self, task: str, split: str, metric: str) -> Resamples:
        """Resample the split's examples for all cells of the task, once."""
        key = (task, split, metric)
        if key not in self._resamples:
            sums, examples = self._sums_of_same_rows(task, split, metric)
            draws = replicates(list(sums.values()), f"{task}/{split}", self.draws) if sums else np.empty((0, 0))
            columns = {cell_id: column for column, cell_id in enumerate(sums)}
            self._resamples[key] = Resamples(columns, draws, examples)
        return self._resamples[key]

    def _sums_of_same_rows(self, task: str, split: str, metric: str) -> tuple[dict[str, Sums], int]:
        """By cell id, for the cells that were scored on the same rows as the first one; and how many rows these are.

        A cell that was scored on other rows, or against other references, can be paired by seed alone.
        """
        sums_by_cell: dict[str, Sums] = {}
        rows: tuple[Array, Array] | None = None
        for cell in self.results.cells:
            if cell.task.name != task or cell.id not in self.results.records:
                continue
            sums = self._sums(task, split, metric, cell.id)
            predictions = self._predictions_of(cell.id)
            if sums is None or predictions is None:
                continue
            # The first cell sets the rows. Records of several data sets come with a caution, see footnotes.py.
            cell_rows = (predictions[split]["row"], predictions[split]["reference"])
            rows = rows or cell_rows
            if np.array_equal(rows[0], cell_rows[0]) and np.array_equal(rows[1], cell_rows[1]):
                sums_by_cell[cell.id] = sums
        return sums_by_cell, 0 if rows is None else len(rows[0])

    def _sums(self, task: str, split: str, metric: str, cell_id: str) -> Sums | None:
        """From the saved predictions; None where there are none, or where the metric cannot be computed from them.

        Raises BenchError if the predictions give another value than the record holds.
        """
        recorded = metric_value(self.results.records[cell_id], split, metric)
        predictions = None if recorded is None else self._predictions_of(cell_id)
        if recorded is None or predictions is None or split not in predictions:
            return None
        columns = predictions[split]
        reference, prediction, score = columns["reference"], columns["prediction"], columns.get("score")
        sums = sums_of(self.results.tasks[task], metric, reference, prediction, score)
        if sums is not None:
            # Guards against predictions left over from another run of the cell.
            computed = float(sums.metric(sums.columns.sum(axis=0)))
            if abs(computed - recorded) > TOLERANCE:
                file = self.results.paths.cell(cell_id).predictions
                raise BenchError(
                    f"{file}: gives {metric} {computed:.6f} on {split}, but the record beside it says {recorded:.6f}: "
                    "they are not of the same run; delete the record and train the cell again"
                )
        return sums

    def _predictions_of(self, cell_id: str) -> Predictions | None:
        if cell_id not in self.predictions:
            self.predictions[cell_id] = _read_predictions(self.results.paths.cell(cell_id).predictions)
        return self.predictions[cell_id]


def _read_predictions(file: Path) -> Predictions | None:
    """None if there is no file. Raises BenchError if it cannot be read or lacks a column."""
    if not file.is_file():
        return None
    try:
        frame = pd.read_parquet(file)
    except (OSError, ValueError) as error:
        raise BenchError(f"{file}: no readable parquet file: {error}") from error
    missing = [name for name in REQUIRED_COLUMNS if name not in frame.columns]
    if missing:
        raise BenchError(f"{file}: column {missing[0]!r} is missing; found {list(frame.columns)}")
    names = [name for name in ("row", "reference", "prediction", "score") if name in frame.columns]
    by_split = frame.groupby("split", sort=False)
    return {str(split): {name: part[name].to_numpy() for name in names} for split, part in by_split}
