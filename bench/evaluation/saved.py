"""Score what was saved, an adapter for PEFT or a whole checkpoint, on a task; the record is of kind `evaluation`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from bench.config.cell import Cell
from bench.errors import BenchError
from bench.evaluation.evaluate import Evaluated, evaluate
from bench.evaluation.predictions_file import write_predictions
from bench.files import digest
from bench.inputs.backbones import check_backbone, open_backbone
from bench.inputs.cache_keys import backbone_folder, data_folder
from bench.inputs.datasets import load_tokenizer, open_data
from bench.models.adapters import reload_adapter
from bench.models.backbone import load_backbone
from bench.models.precision import matmul_precision
from bench.paths import ADAPTER_CONFIG, ADAPTER_WEIGHTS, MODEL_CONFIG, PREDICTIONS, CellPaths
from bench.records.environment import environment
from bench.records.io import write_record
from bench.records.schema import CellKey, Record, Reported


@dataclass(frozen=True)
class Saved:
    """`folder` holds an adapter, or a whole checkpoint in the hub's layout; `files`: SHA-256 of its config and weights.

    Raises BenchError where it is neither, or has no safetensors (a pickle is never read).
    """

    folder: Path
    adapter: bool
    files: dict[str, str]

    @classmethod
    def at(cls, folder: Path) -> Saved:
        adapter = (folder / ADAPTER_CONFIG).is_file()
        if not adapter and not (folder / MODEL_CONFIG).is_file():
            raise BenchError(f"{folder}: expected {ADAPTER_CONFIG} (an adapter) or {MODEL_CONFIG} (a checkpoint) in it")
        weights = [folder / ADAPTER_WEIGHTS] if adapter else sorted(folder.glob("*.safetensors"))
        if not weights or not weights[0].is_file():
            raise BenchError(f"{folder}: no safetensors weights; other formats are not read")
        names = [folder / (ADAPTER_CONFIG if adapter else MODEL_CONFIG), *weights]
        return cls(folder, adapter, {file.name: digest(file) for file in names})


def evaluate_saved(cell: Cell, saved: Saved, *, out: Path, cache: Path, mirror: Path | None) -> Record:
    """Score `saved` on the splits of the cell's task, whose rows are prepared; the record, written to `out`.

    The cell names task, rows, backbone (its tokenizer, and the base under an adapter) and storage. Raises BenchError
    where what was saved does not fit the task or the backbone.
    """
    torch.set_num_threads(cell.threads)
    torch.manual_seed(cell.seed)  # a head that was not saved is drawn
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    base = backbone_folder(cell.backbone, mirror, cache)
    data = open_data(data_folder(cell.task, cell.backbone, cell.data, mirror, cache))
    manifest = open_backbone(base, cell.backbone)
    check_backbone(base, manifest)
    clock = time.monotonic()
    model = _load(cell, saved, base, device)
    loaded = time.monotonic() - clock
    size = cell.recipe.evaluation_batch_size
    found = evaluate(model, cell.task, data.evaluation, load_tokenizer(base), size, device)
    out.mkdir(parents=True, exist_ok=True)
    write_predictions(out / PREDICTIONS, data.evaluation, found.predictions, found.scores)
    record = _record(cell, saved, found, data.manifest, manifest, out, device)
    seconds = {"load": loaded, "evaluation": time.monotonic() - clock - loaded}
    record = record.model_copy(update={"evaluation": {**record.evaluation, "seconds": seconds}})
    write_record(record, out)
    return record


def _load(cell: Cell, saved: Saved, base: Path, device: torch.device) -> Any:
    try:
        if saved.adapter:
            return reload_adapter(load_backbone(cell, base, device), saved.folder)
        return load_backbone(cell, saved.folder, device)
    except (RuntimeError, ValueError, KeyError, OSError, SafetensorError) as error:
        what = f"as a model of {cell.backbone.name!r} with the head of {cell.task.name!r}"
        raise BenchError(f"{saved.folder}: does not load {what}: {type(error).__name__}: {error}") from error


def _record(
    cell: Cell, saved: Saved, found: Evaluated, data: dict[str, Any], model: dict[str, Any], out: Path,
    device: torch.device,
) -> Record:  # fmt: skip
    split, metric = cell.task.primary_split, cell.task.metric
    return Record(
        kind="evaluation",
        cell=CellKey(
            study=cell.study, task=cell.task.name, backbone=cell.backbone.name, method=cell.method.name,
            budget=cell.budget_name, seed=cell.seed, id=cell.id, spec_hash=cell.spec_hash,
            hash=cell.identity(str(data["fingerprint"])),
        ),
        spec=cell.model_dump(mode="json"),
        status="ok",
        reported=Reported(split=split, metric=metric, value=found.metrics[split][metric]),
        metrics={name: {"last": values} for name, values in found.metrics.items()},
        loss=found.loss,
        evaluation={
            "batch_size": found.batch_size, "halvings": found.halvings, "folder": str(saved.folder.resolve()),
            "files": saved.files,
        },
        environment={
            **environment(str(device)),
            "matmul_precision": matmul_precision(device.type, cell.method.storage),
        },
        data={key: data[key] for key in ("fingerprint", "synthetic", "revision", "files", "hub")},
        model=model,
        files={PREDICTIONS: digest(out / PREDICTIONS)},
    )  # fmt: skip


def recorded_cell(folder: Path) -> Cell | None:
    """The cell whose record stands in `folder` or above it, for what was saved beside it; None where there is none.
    Raises BenchError where the record is bad."""
    from bench.records.io import read_record

    for place in (CellPaths(folder), CellPaths(folder.parent)):
        if place.record.is_file():
            return Cell.model_validate(read_record(place.record).spec)
    return None
