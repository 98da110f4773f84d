"""Whether a cell is done: its record is complete, and of this spec, this data and this model. Needs no torch."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.config.cell import Cell
from bench.errors import BenchError
from bench.inputs.backbones import open_backbone
from bench.inputs.cache_keys import backbone_folder, data_folder
from bench.inputs.datasets import read_manifest
from bench.paths import RECORD
from bench.records.io import read_record
from bench.records.schema import Record

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inputs:
    """What a cell reads: the prepared folders of data and model, and their manifests.

    `identity`: the hash of everything that decides the cell's results (`Cell.identity`).
    """

    data: Path
    data_manifest: dict[str, Any]
    model: Path
    model_manifest: dict[str, Any]
    identity: str


def inputs_of(cell: Cell, cache: Path, mirror: Path | None) -> Inputs:
    """The prepared inputs of `cell`. Raises BenchError if something is not prepared."""
    data = data_folder(cell.task, cell.backbone, cell.data, mirror, cache)
    model = backbone_folder(cell.backbone, mirror, cache)
    manifest, rows = open_backbone(model, cell.backbone), read_manifest(data)
    return Inputs(data, rows, model, manifest, cell.identity(str(rows["fingerprint"])))


def recorded(out: Path, inputs: Inputs) -> Record | None:
    """The record in `out` if it is of these `inputs` and all its files are there, else None."""
    try:
        record = read_record(out / RECORD)
    except BenchError as error:
        if (out / RECORD).exists():
            logger.warning("%s; the cell is trained again", error)
        return None
    complete = all((out / name).is_file() for name in record.files)
    of_these_inputs = record.cell.hash == inputs.identity and record.model == inputs.model_manifest
    return record if complete and of_these_inputs else None
