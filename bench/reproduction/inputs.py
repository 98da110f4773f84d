"""The cell that a record describes, and its inputs: prepared here, and held against the hashes in the record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.config.cell import Cell
from bench.config.folders import folder_of_task, workflow_folders
from bench.errors import BenchError
from bench.inputs.outdated import outdated
from bench.inputs.prepare import prepare_missing
from bench.records.schema import Record
from bench.records.specs import cell_in
from bench.reproduction.recorded import Recorded
from bench.training.done import Inputs, inputs_of

SHORT = 12  # hex digits of a hash that are printed


def cell_of(recorded: Recorded, workflow: Path | None, mirror: Path | None, threads: int | None = None) -> Cell:
    """The cell as the spec in its record has it, tuned values and ranks of another cell included; no YAML file is read.

    What the record read from the hub at its newest commit is asked for at that commit. Files that a task names are
    looked up beside the task's file (`workflow_folders`), and in the working folder. `threads` in place of the spec's.

    Raises BenchError if the spec can't be read by this version.
    """
    record = recorded.record
    tasks = folder_of_task(workflow_folders(workflow), record.cell.task)
    cell = cell_in(record, recorded.file, tasks)
    if ".." in Path(f"{cell.study}/{cell.id}").parts or Path(cell.study).is_absolute():
        raise BenchError(f"{recorded.file}: calls its cell {cell.study}/{cell.id}, which is no path below the results")
    if threads is not None:
        cell = cell.model_copy(update={"threads": threads})
    return cell if mirror is not None else _at_recorded_commits(cell, record)


def _at_recorded_commits(cell: Cell, record: Record) -> Cell:
    data, backbone = cell.task.data, cell.backbone
    if data.hub and data.revision is None and (commit := record.data.get("revision")):
        data = data.model_copy(update={"revision": commit})
    other = data.evaluation_from
    if other and other.revision is None and (commit := record.data.get("evaluation_revision")):
        data = data.model_copy(update={"evaluation_from": other.model_copy(update={"revision": commit})})
    if backbone.hub and backbone.revision is None and (commit := record.model.get("revision")):
        backbone = backbone.model_copy(update={"revision": commit})
    return cell.model_copy(update={"task": cell.task.model_copy(update={"data": data}), "backbone": backbone})


def same_inputs(cell: Cell, recorded: Recorded, cache: Path, mirror: Path | None) -> Inputs:
    """The inputs of `cell`, prepared where they are missing, if they are those of the record.

    Raises BenchError that says what is not available, or which file or rows have another hash.
    """
    try:
        if not _is_ready(cell, cache, mirror):
            prepare_missing([cell], mirror, cache)
        inputs = inputs_of(cell, cache, mirror)
    except BenchError as error:  # also a hub that can't be reached: to try again later is the user's choice here
        raise BenchError(f"{recorded.name} can't be trained again here: {error}") from error
    _check_model(cell, recorded.record.model, inputs)
    _check_rows(cell, recorded, inputs)
    return inputs


def _is_ready(cell: Cell, cache: Path, mirror: Path | None) -> bool:
    try:
        inputs_of(cell, cache, mirror)
    except BenchError:
        return False
    return not outdated([cell], mirror, cache, refresh=False)


def _check_model(cell: Cell, recorded: Mapping[str, Any], inputs: Inputs) -> None:
    wanted, found = recorded.get("files") or {}, inputs.model_manifest["files"]
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise BenchError(
                f"backbone {cell.backbone.name!r}: {name} is not that of the record (its SHA-256 is "
                f"{_short(found.get(name))} here, {_short(wanted.get(name))} in the record)"
            )


def _check_rows(cell: Cell, recorded: Recorded, inputs: Inputs) -> None:
    wanted, found = recorded.record.data, inputs.data_manifest
    if wanted.get("fingerprint") == found["fingerprint"]:
        return
    files, files_here = wanted.get("files") or {}, found.get("files") or {}
    other = [name for name in sorted(files.keys() | files_here.keys()) if files.get(name) != files_here.get(name)]
    why = f"{other[0]} has another SHA-256" if other else "from the same files, read otherwise by this version"
    raise BenchError(
        f"{cell.task.data_title}: its rows are not those of the record {recorded.file} (fingerprint "
        f"{_short(found['fingerprint'])} here, {_short(wanted.get('fingerprint'))} in the record): {why}"
    )


def _short(sha256: object) -> str:
    return "missing" if sha256 is None else str(sha256)[:SHORT]
