"""Read and write records: whole or not at all, no NaN, nothing edited by hand, nothing from a future version."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.errors import BenchError
from bench.files import canonical_json, write_atomic
from bench.records.schema import SCHEMA_VERSION, Record

NAME = "record.json"


def write_record(record: Record, folder: Path) -> Path:
    """Write `record` as folder/record.json. Raises ValueError where a number is NaN or infinite."""
    data = record.model_dump(mode="json", exclude={"sha256"})
    file = folder / NAME
    write_atomic(file, canonical_json({**data, "sha256": _hash(data)}))
    return file


def read_record(file: Path) -> Record:
    """The record in `file`. Raises BenchError that names the file and the version or field that is wrong."""
    try:
        data: Any = json.loads(file.read_bytes(), parse_constant=_refuse)
    except (OSError, ValueError, RecursionError) as error:
        raise BenchError(f"{file}: no readable record: {error}") from error
    if not isinstance(data, dict):
        raise BenchError(f"{file}: expected a JSON object, found {type(data).__name__}")
    version = data.get("schema_version")
    if not isinstance(version, int) or version > SCHEMA_VERSION or version < 1:
        raise BenchError(f"{file}: schema version {version!r}; this harness reads 1 to {SCHEMA_VERSION}")
    written = data.pop("sha256", None)
    if written != _hash(data):
        raise BenchError(f"{file}: the content does not match its sha256: it was edited by hand or damaged")
    try:
        return Record.model_validate({**data, "sha256": written})
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        raise BenchError(f"{file}: field {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from error


def _hash(data: dict[str, Any]) -> str:
    return hashlib.sha256(canonical_json(data)).hexdigest()


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number")
