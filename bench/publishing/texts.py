"""Predictions without the texts of rows, which belong to the data set and its licence.

A reference text becomes the beginning of its SHA-256, so that two files can still be held against each other. Answers
to questions are parts of a row and become that, too. What a model wrote itself stays, as do classes and numbers. For
BLEU and chrF, which need both texts, the counts of each row take their place: tables are those of the whole file.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import pyarrow
import pyarrow.parquet

from bench.analysis.stats.corpus import COUNTS, counts_column
from bench.config.task import Task
from bench.evaluation.corpus_scores import corpus_metrics
from bench.files import digest

PREFIX = "sha256:"
DIGITS = 16  # hex digits


def holds_texts_of_rows(task: Task, *, synthetic: bool) -> bool:
    """Whether predictions of `task` hold texts of a data set: not those that the harness's own generators made."""
    return task.facts.target in ("text", "span") and not synthetic


def without_texts(task: Task, predictions: bytes) -> bytes:
    """The content of a predictions.parquet of `task` without the texts of rows."""
    table = pyarrow.parquet.read_table(io.BytesIO(predictions))
    wanted, given = table["reference"].to_pylist(), table["prediction"].to_pylist()
    for metric in corpus_metrics(task):
        counts = COUNTS[metric].of_rows(task, given, wanted)
        table = table.append_column(
            counts_column(metric), pyarrow.array(counts.tolist(), pyarrow.list_(pyarrow.float64()))
        )
    hidden = {"reference": wanted, **({"prediction": given} if task.facts.target == "span" else {})}
    for name, texts in hidden.items():
        table = table.set_column(table.column_names.index(name), name, [_hashes(texts)])
    stream = io.BytesIO()
    pyarrow.parquet.write_table(table, stream, compression="zstd")
    return stream.getvalue()


def _hashes(texts: Sequence[str | None]) -> pyarrow.Array:
    """Of each text; nothing of what is missing or empty, as where a question is given no answer."""
    return pyarrow.array([text and PREFIX + digest(text.encode())[:DIGITS] for text in texts], pyarrow.string())
