"""Saved predictions of a cell: read in the order of the rows, and checked against the record beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis.stats.corpus import COUNTS, counts_column
from bench.analysis.stats.perplexity import perplexity_sums
from bench.analysis.stats.resampling import Array, Sums, sums_of
from bench.config.task import Task
from bench.errors import BenchError

REQUIRED_COLUMNS = ("split", "row", "reference", "prediction")
TASK_METRIC = "score"  # in files of earlier versions: the row scores of the task's own metric
ROW_SCORES = "score_"  # before the name of a metric: its row scores
TOLERANCE = 1e-6  # between a recorded metric and the same one from the saved predictions; above 1 a share of it
Columns = Mapping[str, Array]  # by column of predictions.parquet: an array over the examples of one split
Predictions = dict[str, dict[str, Array]]  # by split and column


def read_predictions(file: Path) -> Predictions | None:
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
    names = [str(name) for name in frame.columns if name != "split"]
    by_split = frame.groupby("split", sort=False)
    return {str(split): {name: part[name].to_numpy() for name in names} for split, part in by_split}


def in_order(columns: Columns) -> dict[str, Array]:
    """The examples by the number of their row, so that two cells can be compared example by example."""
    order = np.argsort(columns["row"], kind="stable")
    return {name: np.asarray(values)[order] for name, values in columns.items()}


def same_rows(first: Columns, second: Columns) -> bool:
    """Whether two cells were scored on the same rows against the same references."""
    return all(np.array_equal(first[name], second[name]) for name in ("row", "reference"))


def same_value(first: Any, second: Any) -> bool:
    """Whether two values of a column are the same; one may be a list, and NaN is equal to itself."""
    if isinstance(first, np.ndarray) or isinstance(second, np.ndarray):
        return bool(np.array_equal(first, second))
    return bool(first == second or (first != first and second != second))


def same_predictions(first: Predictions, second: Predictions) -> bool:
    """Whether every split has the same rows, with the same value in each column, in whatever order."""
    if first.keys() != second.keys():
        return False
    pairs = [(in_order(first[split]), in_order(second[split])) for split in first]
    return all(
        one.keys() == other.keys()
        and np.array_equal(one["row"], other["row"])
        and all(same_value(a, b) for name in one for a, b in zip(one[name], other[name], strict=True))
        for one, other in pairs
    )


def checked_sums(task: Task, metric: str, columns: Columns, recorded: float, file: Path) -> Sums | None:
    """The metric of one cell as sums over its examples; None where `file` does not hold enough to compute it.

    Raises BenchError if it holds another value than the `recorded` one, as after another run of the cell.
    """
    scores = columns.get(ROW_SCORES + metric)
    if scores is None and metric == task.metric:
        scores = columns.get(TASK_METRIC)
    counts = columns.get(counts_column(metric))
    if metric == "perplexity":
        sums = perplexity_sums(columns)
    elif counts is None:
        sums = sums_of(task, metric, columns["reference"], columns["prediction"], scores)
    else:
        sums = Sums(np.stack(list(counts)), COUNTS[metric].metric)
    if sums is not None:
        computed = float(sums.metric(sums.columns.sum(axis=0)))
        if not abs(computed - recorded) <= TOLERANCE * max(1.0, abs(recorded)):
            raise BenchError(
                f"{file}: gives {metric} {computed:.6f} on its rows, but the record beside it says {recorded:.6f}: "
                "they are not of the same run; delete the record and train the cell again"
            )
    return sums
