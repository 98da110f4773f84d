"""The cell that the spec in a record describes."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from bench.config.cell import Cell
from bench.errors import BenchError
from bench.records.schema import Record


def cell_in(record: Record, file: Path, tasks: Path | None) -> Cell:
    """The cell of `record`, which stands in `file`; files that its task names are looked up in the folder `tasks`, too.

    Raises BenchError if the spec can't be read by this version.
    """
    try:
        return Cell.model_validate(record.spec, context={"folder": tasks})
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        field = ".".join(map(str, fault["loc"]))
        commit = record.environment.get("commit")
        raise BenchError(
            f"{file}: its spec can't be read by this version: field {field}: {fault['msg']}; it was recorded at commit "
            f"{commit}"
        ) from error
