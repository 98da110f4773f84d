"""The text of a CSV, TSV or JSON file, in the encoding that the task names, its byte order mark says, or UTF-8."""

from __future__ import annotations

import codecs
import io
from pathlib import Path
from typing import IO, Any

from bench.config.data import Data
from bench.errors import BenchError
from bench.inputs.formats.opened_file import opened

Row = tuple[int, list[Any]]  # the line, from 1, and the values of the columns
# The longest first: a mark of UTF-32 starts with one of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def decoded(stream: IO[bytes], data: Data) -> io.TextIOWrapper:
    """The text in `stream`; line ends stay what they are, since fields may hold them."""
    start = stream.peek(4) if isinstance(stream, io.BufferedReader) else b""
    marked = next((encoding for mark, encoding in _MARKS if start.startswith(mark)), None)
    return io.TextIOWrapper(stream, encoding=marked or data.encoding or "utf-8", newline="")


def undecodable(file: Path, text: io.TextIOWrapper, line: int, error: UnicodeError) -> BenchError:
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
