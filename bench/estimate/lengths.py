"""How long the prepared training rows of a cell are, in tokens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pyarrow.compute
import pyarrow.parquet

from bench.config.cell import Cell
from bench.inputs.cache_keys import data_folder


@dataclass(frozen=True)
class Lengths:
    """rows of the training split; the longest source and target; tokens of all rows, padding not counted."""

    rows: int
    longest: int
    longest_target: int
    tokens: int


def prepared_lengths(cell: Cell, mirror: Path | None, cache: Path) -> Lengths | None:
    """None where nothing is prepared for the cell yet."""
    file = data_folder(cell.task, cell.backbone, cell.data, mirror, cache) / "train.parquet"
    return _lengths(file) if file.is_file() else None


@lru_cache(maxsize=64)
def _lengths(file: Path) -> Lengths:
    table = pyarrow.parquet.ParquetFile(file).read(columns=["input_ids", "label_ids"])
    source, target = (pyarrow.compute.list_value_length(table.column(name)) for name in ("input_ids", "label_ids"))
    longest, longest_target = (int(pyarrow.compute.max(c).as_py()) for c in (source, target))
    tokens = sum(int(pyarrow.compute.sum(c).as_py()) for c in (source, target))
    return Lengths(len(table), longest, longest_target, tokens)
