"""Predictions without the texts of rows, which belong to the data set and its license.

A reference text becomes the beginning of its SHA-256, so that two files can still be held against each other. Answers
to questions are parts of a row and become that, too, as does what a model wrote word by word as a reference has it. The
rest that it wrote stays, as do classes and numbers. For BLEU and chrF, which need both texts, the counts of each row
take their place: tables are those of the whole file.
"""

from __future__ import annotations

import io
from collections.abc import Sequence, Set
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow
import pyarrow.parquet

from bench.analysis.stats.corpus import COUNTS, counts_column
from bench.analysis.stats.predictions import Predictions, read_predictions
from bench.config.task import Task
from bench.evaluation.corpus_scores import corpus_metrics
from bench.files import digest

PREFIX = "sha256:"
DIGITS = 16  # hex digits


def holds_texts_of_rows(task: Task, *, synthetic: bool) -> bool:
    """Whether predictions of `task` hold texts of a data set: not those that the harness's own generators made."""
    return task.facts.target in ("text", "span") and not synthetic


def is_without_texts(predictions: Path) -> bool:
    """Whether a predictions.parquet is one out of a bundle, whose references are hashes."""
    wanted = pyarrow.parquet.read_table(predictions, columns=["reference"])["reference"]
    return pyarrow.types.is_string(wanted.type) and _are_hashes(wanted.to_pylist())


def without_texts(task: Task, predictions: bytes) -> bytes:
    """The content of a predictions.parquet of `task` without the texts of rows; as it is where it has none already."""
    table = pyarrow.parquet.read_table(io.BytesIO(predictions))
    wanted, given = table["reference"].to_pylist(), table["prediction"].to_pylist()
    if _are_hashes(wanted):  # out of a bundle
        return predictions
    for metric in corpus_metrics(task):
        counts = COUNTS[metric].of_rows(task, given, wanted)
        table = table.append_column(
            counts_column(metric), pyarrow.array(counts.tolist(), pyarrow.list_(pyarrow.float64()))
        )
    of_rows = {*given} if task.facts.target == "span" else {*wanted}
    columns = {"reference": _hashed(wanted, {*wanted})}
    if task.generates or task.facts.target == "span":  # else they are numbers
        columns["prediction"] = _hashed(given, of_rows)
    for name, column in columns.items():
        table = table.set_column(table.column_names.index(name), name, [column])
    stream = io.BytesIO()
    pyarrow.parquet.write_table(table, stream, compression="zstd")
    return stream.getvalue()


def read_alike(task: Task, first: Path, second: Path) -> tuple[Predictions | None, Predictions | None]:
    """The predictions of `task` in two files; where one of them is out of a bundle, without the texts of rows in both.

    None where there is no file. Raises BenchError if a file can't be read.
    """
    found = read_predictions(first), read_predictions(second)
    if found[0] is None or found[1] is None or is_without_texts(first) == is_without_texts(second):
        return found
    with TemporaryDirectory() as folder:
        alike = []
        for file in (first, second):
            reduced = Path(folder) / file.name
            reduced.write_bytes(without_texts(task, file.read_bytes()))
            alike.append(read_predictions(reduced))
    return alike[0], alike[1]


def _are_hashes(references: Sequence[str | None]) -> bool:
    """Whether the references are those that `_hashed` made; an empty one stays empty there."""
    return all(text.startswith(PREFIX) for text in references if text)


def _hashed(texts: Sequence[str | None], of_rows: Set[str | None]) -> pyarrow.Array:
    """`texts`, with a hash for each that is `of_rows`. An empty one, as where no answer is given, stays empty."""
    hashed = [PREFIX + digest(text.encode())[:DIGITS] if text and text in of_rows else text for text in texts]
    return pyarrow.array(hashed, pyarrow.string())
