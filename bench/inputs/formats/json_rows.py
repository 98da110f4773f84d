"""The rows of a JSON file, read one by one, so that a long list is never in memory as a whole."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, TextIO

from bench.config.data import Data
from bench.errors import BenchError, nearest
from bench.inputs.formats.decoded_text import Row, decoded, undecodable
from bench.inputs.targets import short

CHUNK = 1 << 20  # characters that are read at once
# An error this close to the end of what was read may only mean that the rest is still to come.
_MARGIN = 16


def json_rows(file: Path, stream: IO[bytes], columns: Sequence[str], data: Data) -> Iterator[Row]:
    """The rows of a JSON file: one object per line, a list of objects, or such a list under the key `data.field`.

    Raises BenchError at the first row that is no object or lacks a column.
    """
    text = decoded(stream, data)
    objects = JsonStream(text)
    try:
        for row in objects.rows(data.field):
            yield objects.line, [_value(file, objects.line, row, column) for column in columns]
    except JsonError as error:
        raise BenchError(f"{file}, line {objects.line}: {error}") from error
    except UnicodeError as error:
        raise undecodable(file, text, objects.line, error) from error


def _value(file: Path, line: int, row: Any, column: str) -> Any:
    """The value of a column, which may be a field of a nested one (`translation.en`). Raises BenchError without it."""
    if not isinstance(row, dict):
        raise BenchError(f"{file}, line {line}: expected an object with the column {column!r}, found {short(row)}")
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


class JsonError(ValueError):
    """The text is no JSON, or no rows in JSON."""


class JsonStream:
    """A JSON text, of which a part is in memory. `line` is the line, from 1, at which the last value starts."""

    def __init__(self, text: TextIO) -> None:
        self.line = 1
        self._text = text
        self._buffer = ""
        self._position = 0
        self._counted = 0  # the line breaks before this position are in `line`
        self._ended = False
        self._decoder = json.JSONDecoder(object_pairs_hook=_object)

    def rows(self, field: str | None = None) -> Iterator[Any]:
        """The items of the list that the text is or that is under the key `field`; else the values one after another.

        Raises JsonError.
        """
        if field is not None:
            yield from self._items_under(field)
        elif self._next() == "[":
            yield from self._items()
            if self._next():
                raise JsonError(f"expected the end of the file after the list, found {self._next()!r}")
        else:
            while self._next():
                yield self._value()

    def _items_under(self, field: str) -> Iterator[Any]:
        if self._next() != "{":
            raise JsonError(f"expected an object with the key {field!r}, found {self._next()!r}")
        keys = []
        self._take("{")
        while self._next() != "}":
            key = self._value()
            keys.append(str(key))
            self._take(":")
            if key == field:
                if self._next() != "[":
                    raise JsonError(f"expected a list under the key {field!r}, found {self._next()!r}")
                yield from self._items()
            else:
                self._value()
            if self._next() != "}":
                self._take(",")
        if field not in keys:
            raise JsonError(f"expected the key {field!r} with a list of rows, found {', '.join(keys)}")

    def _items(self) -> Iterator[Any]:
        self._take("[")
        while self._next() != "]":
            yield self._value()
            if self._next() != "]":
                self._take(",")
        self._take("]")

    def _next(self) -> str:
        """The next character that is no blank; empty at the end."""
        while True:
            while self._position < len(self._buffer):
                character = self._buffer[self._position]
                if character not in " \t\r\n":
                    return character
                self._position += 1
            if not self._read_on():
                return ""

    def _take(self, character: str) -> None:
        found = self._next()
        if found != character:
            self._count_lines()
            raise JsonError(f"expected {character!r}, found {found!r}" if found else "the file ends in the middle")
        self._position += 1

    def _value(self) -> Any:
        if not self._next():
            raise JsonError("the file ends in the middle")
        self._count_lines()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._position)
            except json.JSONDecodeError as error:
                unterminated = error.msg.startswith("Unterminated string")
                cut_off = unterminated or error.pos >= len(self._buffer.rstrip())
                if (unterminated or error.pos >= len(self._buffer) - _MARGIN) and self._read_on():
                    continue
                raise JsonError("the file ends in the middle" if cut_off else f"no JSON: {error.msg}") from error
            except RecursionError as error:
                raise JsonError("nested too deeply") from error
            except JsonError:
                raise
            except ValueError as error:  # a number of thousands of digits
                raise JsonError(f"no JSON: {error}") from error
            if end < len(self._buffer) or not self._read_on():  # a number may go on
                self._position = end
                return value

    def _count_lines(self) -> None:
        self.line += self._buffer.count("\n", self._counted, self._position)
        self._counted = self._position

    def _read_on(self) -> bool:
        """Read as much again as is in memory, and drop what was passed; False at the end of the text."""
        if self._ended:
            return False
        self._count_lines()
        rest = self._buffer[self._position :]
        more = self._text.read(max(CHUNK, len(rest)))
        self._buffer, self._position, self._counted = rest + more, 0, 0
        self._ended = not more
        return bool(more)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object. Raises JsonError where a key is there twice, since only one of the values could be kept."""
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise JsonError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} is there twice")
    return content
