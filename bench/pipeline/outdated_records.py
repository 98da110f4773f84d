"""Let Snakemake see, when the pipeline starts, that a record was made under another spec or of other inputs.

Snakemake compares times of files, and the spec of each cell with the one that it noted in its folder `.snakemake`.
Where it has no such note, it takes every record for today's that is newer than what was prepared: of results that were
copied from another machine, of cells that were trained by hand, and after that folder was deleted.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.config.cell import Cell
from bench.errors import BenchError
from bench.files import write_atomic
from bench.pipeline.status import with_known_choices
from bench.pipeline.study import Pipeline

# Nanoseconds by which a record is dated back: 32 years, so that it is older than all that it depends on. Its own time
# can be had again from that.
SHIFT = 10**18


def age_outdated_records(pipeline: Pipeline) -> None:
    """Date every record of another spec, data or model back: Snakemake trains its cell again where it is wanted.

    Nothing else of a record changes, and one that is today's again has its own time again. Cells whose choice or ranks
    are not known yet are left out: their trials or donors decide. What is not prepared is newer once it is.
    """
    study = with_known_choices(pipeline.study, pipeline.options.results)
    wanted = {cell.id for cell in pipeline.cells}
    cells = [*pipeline.trials, *(cell for cell in study.cells if cell.id in wanted and not study.awaits(cell))]
    prepared = {task: _Prepared.of(pipeline, task) for task in dict.fromkeys(cell.task.name for cell in cells)}
    for cell in cells:
        file = pipeline.paths.cell(cell.id).record
        with suppress(OSError):  # there is none, or its folder is not this user's: then the run says so where it writes
            time, outdated = file.stat().st_mtime_ns, _is_outdated(file, cell, prepared[cell.task.name])
            if outdated != (time < SHIFT):
                _date(file, time + (-SHIFT if outdated else SHIFT))


@dataclass(frozen=True)
class _Prepared:
    """What the cells of a task read: the fingerprint of the rows and the model's manifest; None if not prepared."""

    fingerprint: str | None
    model: dict[str, Any] | None

    @classmethod
    def of(cls, pipeline: Pipeline, task: str) -> _Prepared:
        files = pipeline.inputs(task)
        rows = _manifest(files["data"]) or {}
        return cls(rows.get("fingerprint"), _manifest(files["model"]))


def _manifest(file: str) -> dict[str, Any] | None:
    try:
        manifest: Any = json.loads(Path(file).read_bytes())
    except (OSError, ValueError, RecursionError):  # not prepared, or damaged: then the job refuses it
        return None
    return manifest if isinstance(manifest, dict) else None


def _is_outdated(file: Path, cell: Cell, prepared: _Prepared) -> bool:
    """Whether `bench train` would not take the record for the cell's. False for what `bench status` has to name."""
    from bench.records.io import plain_record  # late: Snakemake reads this module each time it parses its rules

    try:
        record = plain_record(file)
        if prepared.model is not None and record["model"] != prepared.model:
            return True
        if prepared.fingerprint is None:
            return bool(record["cell"]["spec_hash"] != cell.spec_hash)
        return bool(record["cell"]["hash"] != cell.identity(prepared.fingerprint))
    except (ValueError, KeyError, TypeError, RecursionError, BenchError):
        return False


def _date(file: Path, time: int) -> None:
    try:
        os.utime(file, ns=(time, time))
    except PermissionError:  # the file of another user, in a folder that both write: a copy of it is this user's
        write_atomic(file, file.read_bytes())
        os.utime(file, ns=(time, time))
