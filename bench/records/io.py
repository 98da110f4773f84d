"""Read and write what a cell leaves: record.json, and curve.jsonl with one line per optimizer step.

A record is written whole or not at all and never holds a NaN. Reading refuses one that was edited by hand, is damaged,
or comes from a newer version. A record of an older schema is brought up to date in memory.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.errors import BenchError
from bench.files import canonical_json, clear_when_full, digest, digest_json, write_atomic
from bench.paths import RECORD
from bench.records import schema
from bench.records.migrations import MIGRATIONS, current_curve_line
from bench.records.schema import Record

MAX_BYTES = 20_000_000  # a real record has 15 to 60 kB; reading a file of gigabytes would fill the memory


def write_record(record: Record, folder: Path) -> Path:
    """Write `record` as folder/record.json and return that path.

    Raises ValueError if it holds a NaN or infinity, TransientError if the disk is full.
    """
    file = folder / RECORD
    # Canonical, so that equal records are equal files and a checksum does not depend on who wrote the JSON.
    text = canonical_json(as_data(record))
    with clear_when_full(folder, len(text)):
        write_atomic(file, text)
    return file


def as_data(record: Record) -> dict[str, Any]:
    """What stands in the file of a record."""
    data = record.model_dump(mode="json", exclude={"checksums"})
    return {**data, "checksums": checksums(data)}


def read_record(file: Path) -> Record:
    """The record in `file`, brought up to date. Raises BenchError with the file and the version or field at fault."""
    try:
        if file.stat().st_size > MAX_BYTES:
            raise BenchError(f"{file}: {file.stat().st_size:,} bytes; a record has at most {MAX_BYTES:,}")
        return parse_record(file.read_bytes(), file)
    except OSError as error:
        raise BenchError(f"{file}: no readable record: {error}") from error


def record_at(file: Path) -> Record | None:
    """The record in `file`; None if there is none. Raises BenchError as `read_record` does."""
    try:
        return read_record(file)
    except BenchError as error:
        if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
            return None
        raise


def plain_record(file: Path) -> dict[str, Any]:
    """The record in `file` as JSON data of today's schema, in a tenth of the time: nothing of it is checked.

    Raises OSError, ValueError, KeyError, TypeError or RecursionError where it can't be read so, or BenchError where it
    is of an older schema and can't be brought up to date.
    """
    data: dict[str, Any] = json.loads(file.read_bytes())
    # The hashes of another schema are those of another spelling.
    return data if data["schema_version"] == schema.SCHEMA_VERSION else as_data(read_record(file))


def parse_record(content: bytes, file: Path) -> Record:
    """The record that the bytes of `file` hold. Raises BenchError as `read_record` does."""
    data = _data(content, file)
    version = data.get("schema_version")
    # JSON's true is a bool, which Python counts as an integer.
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise BenchError(f"{file}: schema_version: expected a whole number from 1, found {_short(version)}")
    if version > schema.SCHEMA_VERSION:
        raise BenchError(
            f"{file}: schema_version {_short(version)} is newer than this harness, which reads 1 to "
            f"{schema.SCHEMA_VERSION}: update it"
        )
    _refuse_edits(file, data)  # before a migration changes what the checksums were taken of
    try:
        for old in range(version, schema.SCHEMA_VERSION):
            data = {**MIGRATIONS[old](data), "schema_version": old + 1}
    except (KeyError, TypeError, AttributeError) as error:  # right checksums, but not the shape of that version
        what = f"{type(error).__name__}: {error}"
        raise BenchError(f"{file}: no record of schema_version {version} can be read from it: {what}") from error
    try:
        return Record.model_validate(data)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]  # one is enough: the others often follow from it
        field = ".".join(map(str, fault["loc"]))
        raise BenchError(f"{file}: field {field}: {fault['msg']}, found {_short(fault['input'])}") from error


def checksums(data: dict[str, Any]) -> dict[str, str]:
    """Per field, the first 16 hex digits of the SHA-256 of its JSON, as records of that schema version take it."""
    # Schema 1 hashed indented JSON. Python writes compact JSON several times as fast, and tables check every record.
    hashed = _digest_indented if data.get("schema_version") == 1 else digest_json
    return {name: hashed(value)[:16] for name, value in data.items() if name != "checksums"}


def read_curve(file: Path) -> list[dict[str, Any]]:
    """The lines of a curve.jsonl, with today's keys whatever its age; empty if there is no such file.

    Each line has `step`, `loss`, `learning_rate`, `gradient_norm`, `regularizer` and `budget`; some have `live_ranks`
    (see `SiteRank.index`), `held_out_loss`, `scores` or `skipped`.
    """
    lines = file.read_text().splitlines() if file.is_file() else []
    return [current_curve_line(json.loads(line)) for line in lines]


def _digest_indented(value: Any) -> str:
    return digest(canonical_json(value))


def _data(content: bytes, file: Path) -> dict[str, Any]:
    try:
        data: Any = json.loads(content, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:  # the latter of a file of thousands of brackets
        raise BenchError(f"{file}: no readable record: {error}") from error
    if not isinstance(data, dict):
        raise BenchError(f"{file}: expected a JSON object, found {type(data).__name__}")
    return data


def _refuse_edits(file: Path, data: dict[str, Any]) -> None:
    written = data.get("checksums")
    if not isinstance(written, dict):
        raise BenchError(f"{file}: field checksums is missing: edited by hand, or not a record")
    try:
        actual = checksums(data)
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{file}: no readable record: {error}") from error
    # Per field, so that the message can name what was edited.
    for name in sorted(actual.keys() | written.keys()):
        if actual.get(name) != written.get(name):
            what = "removed" if name not in actual else "added" if name not in written else "changed"
            raise BenchError(
                f"{file}: field {name} was {what} after the record was written (by hand, or the file is damaged); "
                "delete the record and train the cell again"
            )


def _refuse(constant: str) -> Any:
    """Python's JSON reader accepts NaN and Infinity, which JSON does not have."""
    raise ValueError(f"{constant} is not a number")


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python refuses to print an integer of thousands of digits
        return "a huge number"
    return text if len(text) <= 80 else text[:77] + "..."
