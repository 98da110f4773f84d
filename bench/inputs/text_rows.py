"""The rows of a CSV, TSV or JSON file, each with the line at which it starts.

Python's csv module reads them, which takes every field for a text, so that none is turned into a number, a date or a
missing value by its looks. pandas and pyarrow guess types from values.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Literal

from bench.config.data import Data
from bench.errors import BenchError, nearest
from bench.inputs.json_stream import JsonError, JsonStream
from bench.inputs.opened_file import opened

SEPARATORS = (",", ";", "\t", "|")
# The longest first: a mark of UTF-32 starts with one of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_QUOTING: dict[bool, Literal[0, 3]] = {True: csv.QUOTE_MINIMAL, False: csv.QUOTE_NONE}
Row = tuple[int, list[Any]]  # the line, from 1, and the values of the columns


def csv_rows(file: Path, stream: IO[bytes], form: str, columns: Sequence[str], data: Data) -> Iterator[Row]:
    """The rows of a CSV or TSV file with a header, by its separator: the one of its name, else that of its header.

    Raises BenchError at the first line that is no row, and where a column is missing or is there twice.
    """
    csv.field_size_limit(2**31 - 1)  # the default is 128 KiB, and a document may be longer
    text = _decoded(stream, data)
    quoting = _QUOTING[data.quotes is not False]
    line = 1
    try:
        lines_before, separator, header = _header(file, text, "\t" if form == "tsv" else ",", columns, quoting)
        at = [header.index(column) for column in columns]
        reader = csv.reader(text, delimiter=separator, quoting=quoting, strict=True)
        line = lines_before + 1
        for row in reader:
            end = lines_before + reader.line_num
            if row:  # an empty line is no row
                problem = _problem(row, header, form, data, lines=end - line + 1)
                if problem:
                    raise BenchError(f"{file}, line {line}: {problem}")
                yield line, [row[i] for i in at]
            line = end + 1
    except csv.Error as error:
        hint = "" if data.quotes is False else "; if quotes mean nothing in this file, say `quotes: false`"
        raise BenchError(f"{file}, line {line}: {error}{hint}") from error
    except UnicodeError as error:
        raise _undecodable(file, text, line, error) from error


def json_rows(file: Path, stream: IO[bytes], form: str, columns: Sequence[str], data: Data) -> Iterator[Row]:  # noqa: ARG001
    """The rows of a JSON file: one object per line, a list of objects, or such a list under the key `data.field`.

    Raises BenchError at the first row that is no object or lacks a column.
    """
    text = _decoded(stream, data)
    json = JsonStream(text)
    try:
        for row in json.rows(data.field):
            yield json.line, [_value(file, json.line, row, column) for column in columns]
    except JsonError as error:
        raise BenchError(f"{file}, line {json.line}: {error}") from error
    except UnicodeError as error:
        raise _undecodable(file, text, json.line, error) from error


def _decoded(stream: IO[bytes], data: Data) -> io.TextIOWrapper:
    """The text in `stream`; line ends stay what they are, since fields may hold them."""
    start = stream.peek(4) if isinstance(stream, io.BufferedReader) else b""
    marked = next((encoding for mark, encoding in _MARKS if start.startswith(mark)), None)
    return io.TextIOWrapper(stream, encoding=marked or data.encoding or "utf-8", newline="")


def _header(
    file: Path, text: io.TextIOWrapper, usual: str, columns: Sequence[str], quoting: Literal[0, 3]
) -> tuple[int, str, list[str]]:
    """The number of lines up to and with the header, the separator, and the names of the columns.

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
            return lines, separator, names
    if "\0" in first:
        raise BenchError(f"{file}: holds NUL bytes: say its encoding in `data`, such as `encoding: utf-16-le`")
    names = next(csv.reader([first], delimiter=usual, quoting=quoting), [])
    missing = next(column for column in columns if column not in names)
    found = ", ".join(names) if len(", ".join(names)) < 300 else ", ".join(names)[:300] + "..."
    raise BenchError(
        f"expected the column {missing!r} in the header, found {found}{nearest(missing, names)} ({file}, line {lines})"
    )


def _problem(row: Sequence[str], header: Sequence[str], form: str, data: Data, lines: int) -> str:
    """What is wrong with a row that spans `lines` lines; empty where nothing is."""
    if len(row) != len(header):
        return f"expected {len(header)} fields as in the header, found {len(row)}"
    if any("\0" in field for field in row):
        return "holds a NUL byte"
    if form == "tsv" and lines > 1 and data.quotes is None:
        return (
            f"a quote opens a field that ends {lines - 1} lines below. Say `quotes: true` in `data` if fields hold "
            "line breaks, `quotes: false` if quotes mean nothing in this file"
        )
    return ""


def _value(file: Path, line: int, row: Any, column: str) -> Any:
    """The value of a column, which may be a field of a nested one (`translation.en`). Raises BenchError without it."""
    if not isinstance(row, dict):
        raise BenchError(f"{file}, line {line}: expected an object with the column {column!r}, found {_short(row)}")
    if column in row:
        return row[column]
    value: Any = row
    for name in column.split("."):
        if not isinstance(value, dict) or name not in value:
            lists = [key for key, held in row.items() if isinstance(held, list) and held and isinstance(held[0], dict)]
            hint = f"; for the rows under {lists[0]!r} say `field: {lists[0]}` in `data`" if lists else ""
            hint = hint or nearest(column, row)
            raise BenchError(f"{file}, line {line}: expected the column {column!r}, found {', '.join(row)}{hint}")
        value = value[name]
    return value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _undecodable(file: Path, text: io.TextIOWrapper, line: int, error: UnicodeError) -> BenchError:
    """The first line whose bytes are no text in the encoding in which the file is read."""
    place = f"near line {line}"
    if "16" not in text.encoding and "32" not in text.encoding:  # else a line break has several bytes
        with opened(file) as (stream, _):
            for number, raw in enumerate(stream, start=1):
                try:
                    raw.decode(text.encoding)
                except UnicodeDecodeError as fault:
                    place = (
                        f"line {number}, byte {fault.start + 1} of the line ({raw[fault.start : fault.start + 1]!r})"
                    )
                    break
    return BenchError(
        f"{file}, {place}: is no {text.encoding} text ({error}); say its encoding in `data`, such as `encoding: cp1252`"
    )
