"""Score a saved adapter or a whole saved checkpoint on a task. The record that is written is of kind `evaluation`."""

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
from bench.evaluation.evaluate_modules import try_modules
from bench.evaluation.predictions_file import write_predictions
from bench.files import digest
from bench.inputs.backbones import check_backbone, open_backbone
from bench.inputs.cache_keys import backbone_folder, data_folder
from bench.inputs.datasets import open_data
from bench.inputs.reader import load_tokenizer
from bench.models.adapters import reload_adapter
from bench.models.backbone import load_backbone
from bench.models.precision import matmul_precision
from bench.paths import ADAPTER_CONFIG, ADAPTER_WEIGHTS, MODEL_CONFIG, PREDICTIONS, CellPaths
from bench.records.environment import environment
from bench.records.io import read_record, write_record
from bench.records.schema import CellKey, Record, Reported


@dataclass(frozen=True)
class Saved:
    """A folder with an adapter as PEFT saves it, or with a whole checkpoint as transformers saves it."""

    folder: Path
    is_adapter: bool
    files: dict[str, str]  # the SHA-256 of its config and of its weights, by file name

    @classmethod
    def at(cls, folder: Path) -> Saved:
        """Raises BenchError where `folder` holds neither, or no safetensors: a pickle is never read."""
        is_adapter = (folder / ADAPTER_CONFIG).is_file()
        if not is_adapter and not (folder / MODEL_CONFIG).is_file():
            raise BenchError(f"{folder}: expected {ADAPTER_CONFIG} (an adapter) or {MODEL_CONFIG} (a checkpoint) in it")
        weights = [folder / ADAPTER_WEIGHTS] if is_adapter else sorted(folder.glob("*.safetensors"))
        if not weights or not weights[0].is_file():
            raise BenchError(f"{folder}: no safetensors weights; other formats are not read")
        config = folder / (ADAPTER_CONFIG if is_adapter else MODEL_CONFIG)
        return cls(folder, is_adapter, {file.name: digest(file) for file in (config, *weights)})


def evaluate_saved(cell: Cell, saved: Saved, *, out: Path, cache: Path, mirror: Path | None) -> Record:
    """Score `saved` on the splits of the cell's task; write the record and the predictions to `out`.

    Of `cell` count the task, the rows, the storage and the backbone, which gives the tokenizer and the base under an
    adapter. Rows and backbone must be prepared. Raises BenchError where `saved` does not fit the task or the backbone.
    """
    try_modules(cell.task)
    torch.set_num_threads(cell.threads)
    torch.manual_seed(cell.seed)  # a head that was not saved is drawn at random
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    base = backbone_folder(cell.backbone, mirror, cache)
    data = open_data(data_folder(cell.task, cell.backbone, cell.data, mirror, cache))
    manifest = open_backbone(base, cell.backbone)
    check_backbone(base, manifest)
    began = time.monotonic()
    model = _load(cell, saved, base, device)
    load_seconds = time.monotonic() - began
    batch_size = cell.recipe.evaluation_batch_size
    evaluated = evaluate(model, cell.task, data.evaluation, load_tokenizer(base), batch_size, device)
    out.mkdir(parents=True, exist_ok=True)
    write_predictions(out / PREDICTIONS, data.evaluation, evaluated.predictions, evaluated.scores)
    record = _record(cell, saved, evaluated, data.manifest, manifest, out, device)
    seconds = {"load": load_seconds, "evaluation": time.monotonic() - began - load_seconds}
    record = record.model_copy(update={"evaluation": {**record.evaluation, "seconds": seconds}})
    write_record(record, out)
    return record


def _load(cell: Cell, saved: Saved, base: Path, device: torch.device) -> Any:
    try:
        if saved.is_adapter:
            return reload_adapter(load_backbone(cell, base, device), saved.folder)
        return load_backbone(cell, saved.folder, device)
    except (RuntimeError, ValueError, KeyError, OSError, SafetensorError) as error:
        what = f"as a model of {cell.backbone.name!r} with the head of {cell.task.name!r}"
        raise BenchError(f"{saved.folder}: does not load {what}: {type(error).__name__}: {error}") from error


def _record(
    cell: Cell,
    saved: Saved,
    evaluated: Evaluated,
    data: dict[str, Any],
    model: dict[str, Any],
    out: Path,
    device: torch.device,
) -> Record:
    """`data` and `model` are the manifests of the prepared rows and of the prepared backbone."""
    split, metric = cell.task.primary_split, cell.task.metric
    return Record(
        kind="evaluation",
        cell=CellKey.of(cell, cell.identity(str(data["fingerprint"]))),
        spec=cell.model_dump(mode="json"),
        status="ok",
        reported=Reported(split=split, metric=metric, value=evaluated.metrics[split][metric]),
        metrics={name: {"last": values} for name, values in evaluated.metrics.items()},
        loss=evaluated.loss,
        evaluation={
            **evaluated.for_record,
            "folder": str(saved.folder.resolve()),
            "files": saved.files,
        },
        environment={
            **environment(str(device)),
            "matmul_precision": matmul_precision(device.type, cell.method.storage),
        },
        data={key: data[key] for key in ("fingerprint", "synthetic", "revision", "files", "hub")},
        model=model,
        files={PREDICTIONS: digest(out / PREDICTIONS)},
    )


def recorded_cell(folder: Path) -> Cell | None:
    """The cell of the record in `folder` or in the folder above, beside which `folder` was saved; None without one.

    Raises BenchError where the record is damaged.
    """
    for paths in (CellPaths(folder), CellPaths(folder.parent)):
        if paths.record.is_file():
            return Cell.model_validate(read_record(paths.record).spec)
    return None
