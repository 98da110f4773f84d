"""Writing and reading records: whole or not at all, no NaN, and a changed or too new record is refused by name.

A record of an older schema is brought up to date when it is read; the file stays as it was written.
"""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.errors import BenchError, TransientError
from bench.files import canonical_json, write_atomic
from bench.records import schema
from bench.records.schema import Record

MAX_BYTES = 20_000_000

# UPDATES[n] turns the plain data of a record of schema n into that of schema n + 1.
UPDATES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}


def write_record(record: Record, file: Path) -> Record:
    """Write `record` with its checksums; what was written comes back. Raises TransientError where the disk is full."""
    plain = record.model_dump(mode="json", by_alias=True, exclude={"checksums"})
    plain["checksums"] = checksums(plain)
    data = canonical_json(plain)
    try:
        write_atomic(file, data)
    except OSError as error:
        raise _disk_error(file, len(data), error) from error
    return Record.model_validate(plain)


def read_record(file: Path) -> Record:
    """The record in `file`, migrated to the present schema. Raises BenchError naming the version or the field."""
    plain = _plain(file)
    version = plain.get("schema_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise BenchError(f"{file}: schema_version: expected a whole number from 1, found {_short(version)}")
    if version > schema.SCHEMA_VERSION:
        raise BenchError(
            f"{file}: is of schema version {version}; this program reads up to {schema.SCHEMA_VERSION}: update it"
        )
    _refuse_changes(file, plain)
    for old in range(version, schema.SCHEMA_VERSION):
        plain = UPDATES[old](plain)
        plain["schema_version"] = old + 1
    try:
        return Record.model_validate(plain)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in fault["loc"])
        raise BenchError(f"{file}: {field}: {fault['msg']}, found {_short(fault['input'])}") from error


def checksums(plain: dict[str, Any]) -> dict[str, str]:
    """By field: the first 16 hex digits of the SHA-256 of its canonical JSON."""
    return {
        name: hashlib.sha256(canonical_json(value)).hexdigest()[:16]
        for name, value in plain.items()
        if name != "checksums"
    }


def _plain(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > MAX_BYTES:
            raise BenchError(f"{file}: {file.stat().st_size:,} bytes; a record has at most {MAX_BYTES:,}")
        data = json.loads(file.read_bytes(), parse_constant=_no_constant)
    except OSError as error:
        raise BenchError(f"{file}: can't be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{file}: is no JSON record: {error}") from error
    if not isinstance(data, dict):
        raise BenchError(f"{file}: is no JSON record: expected an object, found {type(data).__name__}")
    return data


def _refuse_changes(file: Path, plain: dict[str, Any]) -> None:
    written = plain.get("checksums")
    if not isinstance(written, dict):
        raise BenchError(f"{file}: checksums: missing, so the record was edited or was never one of ours")
    try:
        found = checksums(plain)
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{file}: {error}") from error
    for name in sorted(found.keys() | written.keys()):
        if found.get(name) != written.get(name):
            what = "was removed" if name not in found else "was added" if name not in written else "was changed"
            raise BenchError(f"{file}: field {name!r} {what} by hand; train the cell again: records are never edited")


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _disk_error(file: Path, needed: int, error: OSError) -> Exception:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return error
    free = shutil.disk_usage(file.parent).free
    return TransientError(f"{file}: disk full: {needed:,} bytes needed, {free:,} free")
