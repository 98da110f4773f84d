"""predictions.parquet: one row per evaluated row. Paired statistics of two methods are computed from it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from bench.files import write_atomic
from bench.inputs.datasets import Split


def write_predictions(
    file: Path, splits: Mapping[str, Split], predictions: Mapping[str, list[Any]], scores: Mapping[str, list[float]]
) -> None:
    """Write the predictions of all splits to `file`.

    The columns are split, row (its number in the source), reference and prediction, and score where the metric of the
    tables is a mean over rows.
    """
    names = [name for name in predictions for _ in predictions[name]]
    columns: dict[str, Any] = {
        "split": names,
        "row": [row for name in predictions for row in splits[name].rows],
        "reference": [target for name in predictions for target in splits[name].targets],
        "prediction": [value for name in predictions for value in predictions[name]],
    }
    if scores:
        columns["score"] = [value for name in predictions for value in scores[name]]
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), buffer, compression="zstd")
    write_atomic(file, buffer.getvalue())
