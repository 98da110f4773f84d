"""predictions.parquet: one row per evaluated example. Paired statistics of two methods are computed from it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow
import pyarrow.parquet

from bench.files import write_atomic
from bench.inputs.splits import Split

# By split, then by metric: the score of each row.
RowScores = Mapping[str, Mapping[str, list[float]]]


def score_column(metric: str) -> str:
    """The column that holds the row scores of `metric`, such as score_rouge1."""
    return f"score_{metric}"


def write_predictions(
    file: Path,
    splits: Mapping[str, Split],
    predictions: Mapping[str, list[Any]],
    scores: RowScores,
    details: Mapping[str, Mapping[str, list[Any]]] = MappingProxyType({}),
) -> None:
    """Write the predictions of all splits to `file`.

    The columns are split, row (its number in the source), reference and prediction, and one of scores for each metric
    that is a mean over rows which the predictions alone don't give: score_rouge1, score_rouge2 and so on. A metric of
    `evaluate` has the column only if its module gave values for the rows of every split. Each of the `details` by split
    is a column too, under its own name.
    """
    examples = {name: splits[name].examples for name in predictions}
    names = [name for name in predictions for _ in predictions[name]]
    columns: dict[str, Any] = {
        "split": names,
        "row": [row for name in predictions for row in examples[name].rows],
        "reference": [target for name in predictions for target in examples[name].targets],
        "prediction": [value for name in predictions for value in predictions[name]],
    }
    first = next(iter(predictions), "")
    for metric in scores.get(first, ()):
        if all(metric in scores[name] for name in predictions):
            columns[score_column(metric)] = [value for name in predictions for value in scores[name][metric]]
    for name in details.get(first, ()):
        columns[name] = [value for split in predictions for value in details[split][name]]
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), buffer, compression="zstd")
    write_atomic(file, buffer.getvalue())
