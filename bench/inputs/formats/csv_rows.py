"""The rows of a CSV or TSV file, each with the line at which it starts.

Python's csv module reads them, which takes every field for a text, so that none is turned into a number, a date or a
missing value by its looks. pandas and pyarrow guess types from values.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from bench.config.data import Data
from bench.errors import BenchError, nearest
from bench.inputs.formats.decoded_text import Row, decoded, undecodable

SEPARATORS = (",", ";", "\t", "|")
_QUOTING: dict[bool, Literal[0, 3]] = {True: csv.QUOTE_MINIMAL, False: csv.QUOTE_NONE}


@dataclass(frozen=True)
class Header:
    """The names of the columns, what separates them, and the number of lines up to and with the header."""

    names: list[str]
    separator: str
    lines: int
    has_quotes: bool


def csv_rows(file: Path, stream: IO[bytes], usual: str, columns: Sequence[str], data: Data) -> Iterator[Row]:
    """The rows of a file with a header, separated by `usual`, or by what separates the names in the header.

    Raises BenchError at the first line that is no row, and where a column is missing or is there twice.
    """
    csv.field_size_limit(2**31 - 1)  # the default is 128 KiB, and a document may be longer
    text = decoded(stream, data)
    quoting = _QUOTING[data.quotes is not False]
    line = 1
    try:
        header = _header(file, text, usual, columns, quoting)
        at = [header.names.index(column) for column in columns]
        # Many TSV files are written without quotes, so that a quote is part of a text.
        in_doubt = header.separator == "\t" and data.quotes is None and not header.has_quotes
        lines = _Lines(text)
        reader = csv.reader(lines, delimiter=header.separator, quoting=quoting, strict=True)
        line = header.lines + 1
        for row in reader:
            end = header.lines + reader.line_num
            problem = _problem(row, header, lines=end - line + 1)
            if not problem and in_doubt:
                problem = _doubt(row, lines.last, lines=end - line + 1)
            if problem:
                raise BenchError(f"{file}, line {line}: {problem}")
            if row:  # an empty line is no row
                yield line, [row[i] for i in at]
            line = end + 1
    except csv.Error as error:
        hint = "" if data.quotes is False else "; if quotes mean nothing in this file, say `quotes: false`"
        raise BenchError(f"{file}, line {line}: {error}{hint}") from error
    except UnicodeError as error:
        raise undecodable(file, text, line, error) from error


class _Lines:
    """The lines of a text, of which the last one stays at hand."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self.last = ""

    def __iter__(self) -> Iterator[str]:
        for line in self._text:
            self.last = line
            yield line


def _header(file: Path, text: io.TextIOWrapper, usual: str, columns: Sequence[str], quoting: Literal[0, 3]) -> Header:
    """The header of a file.

    Raises BenchError unless every one of `columns` is there once.
    """
    lines = 0
    first = ""
    while not first.strip():
        first = text.readline()
        lines += 1
        if not first:
            raise BenchError(f"{file}: has no line but empty ones; expected a header and rows")
    if first.startswith("sep=") and len(first.strip("\r\n")) == 5:  # a line that Excel writes and reads
        usual, first, lines = first[4], text.readline(), lines + 1
    for separator in (usual, *SEPARATORS):
        names = next(csv.reader([first], delimiter=separator, quoting=quoting), [])
        if all(column in names for column in columns):
            repeated = [column for column in columns if names.count(column) > 1]
            if repeated:
                raise BenchError(f"{file}: the column {repeated[0]!r} is there {names.count(repeated[0])} times")
            return Header(names, separator, lines, has_quotes='"' in first)
    if "\0" in first:
        raise BenchError(f"{file}: holds NUL bytes: say its encoding in `data`, such as `encoding: utf-16-le`")
    names = next(csv.reader([first], delimiter=usual, quoting=quoting), [])
    missing = next(column for column in columns if column not in names)
    found = ", ".join(names) if len(", ".join(names)) < 300 else ", ".join(names)[:300] + "..."
    raise BenchError(
        f"expected the column {missing!r} in the header, found {found}{nearest(missing, names)} ({file}, line {lines})"
    )


def _problem(row: Sequence[str], header: Header, lines: int) -> str:
    """What is wrong with a row; empty where nothing is."""
    if row and len(row) != len(header.names):
        spread = f" in {lines} lines" if lines > 1 else ""
        return f"expected {len(header.names)} fields as in the header, found {len(row)}{spread}"
    return "holds a NUL byte" if any("\0" in field for field in row) else ""


def _doubt(row: Sequence[str], line: str, lines: int) -> str:
    """Why the quotes of a row may be part of its texts; empty where they can't be, or where there are none.

    They enclose fields where one holds a tab or a doubled quote. `line` is the last of the row's `lines` lines.
    """
    say = "Say `quotes: true` in `data` if quotes enclose fields, `quotes: false` if they are part of the texts"
    if lines > 1:
        return f"a quote opens a field that ends {lines - 1} lines below. {say}"
    fields = line.rstrip("\r\n").split("\t")
    if len(fields) == len(row):
        for field, read in zip(fields, row, strict=True):
            if field != read and '"' not in read:
                return f"the field {field} is in quotes. {say}"
    return ""
