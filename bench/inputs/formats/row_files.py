"""Read the rows of one file in blocks, whatever its format: parquet, Arrow, CSV, TSV, JSON, or one of these packed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.config.data import Data
from bench.inputs.formats.arrow_rows import arrow_blocks, class_names, parquet_blocks
from bench.inputs.formats.csv_rows import csv_rows
from bench.inputs.formats.json_rows import json_rows
from bench.inputs.formats.opened_file import opened
from bench.inputs.formats.rows import BLOCK, Block


def read_blocks(file: Path, columns: Sequence[str], data: Data) -> Iterator[Block]:
    """The rows of `file` in order. Raises BenchError where it is unreadable or lacks a column."""
    with opened(file) as (stream, form):
        if form in ("parquet", "arrow"):
            yield from (parquet_blocks if form == "parquet" else arrow_blocks)(file, stream, columns)
        else:
            rows = (
                csv_rows(file, stream, "\t" if form == "tsv" else ",", columns, data)
                if form in ("csv", "tsv")
                else json_rows(file, stream, columns, data)
            )
            yield from _in_blocks(rows, len(columns))


def class_names_of(file: Path, column: str) -> list[str] | None:
    """The names of the classes of `column` in the schema of a parquet or Arrow file; None where it has none."""
    with opened(file) as (stream, form):
        if form not in ("parquet", "arrow"):
            return None
        return class_names(stream, form, column)


def _in_blocks(rows: Iterator[tuple[int, list[Any]]], width: int) -> Iterator[Block]:
    """Lines and rows of a text file, turned into blocks of columns."""
    columns: list[list[Any]] = [[] for _ in range(width)]
    lines: list[int] = []
    for line, row in rows:
        lines.append(line)
        for column, value in zip(columns, row, strict=True):
            column.append(value)
        if len(lines) == BLOCK:
            yield Block(columns, lines)
            columns, lines = [[] for _ in range(width)], []
    if lines:
        yield Block(columns, lines)
