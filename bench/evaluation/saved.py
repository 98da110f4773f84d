"""Score a saved adapter or a whole saved checkpoint on a task. The record that is written is of kind `evaluation`."""

from __future__ import annotations

import logging
import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.config.cell import Cell
from bench.config.folders import folder_of_task
from bench.device import make_deterministic, usable_device
from bench.errors import BenchError
from bench.evaluation.described import (
    PROBLEM,
    SINGLE_LABEL,
    check_adapter_config,
    check_checkpoint,
    check_same_vocabulary,
    class_names,
    class_order,
    only_numbers,
    read_description,
)
from bench.evaluation.evaluate import Evaluated, evaluate
from bench.evaluation.evaluate_modules import try_modules
from bench.evaluation.predictions_file import write_predictions
from bench.files import digest
from bench.inputs.backbones import check_backbone, open_backbone
from bench.inputs.cache_keys import backbone_folder, data_folder
from bench.inputs.datasets import open_data, recorded_data
from bench.inputs.reader import Reader, has_tokenizer, load_processor
from bench.inputs.repeated_options import notes_of_repeated
from bench.models.adapters import reload_adapter, saved_tensors
from bench.models.backbone import head_modules, load_reported
from bench.models.load_report import check_heads, listed
from bench.models.precision import matmul_precision
from bench.paths import ADAPTER_CONFIG, ADAPTER_WEIGHTS, MODEL_CONFIG, PREDICTIONS, CellPaths
from bench.records.environment import environment
from bench.records.io import read_record, write_record
from bench.records.schema import CellKey, Record, Reported
from bench.records.specs import cell_in

logger = logging.getLogger(__name__)


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

    @property
    def config(self) -> Path:
        """The file in which it describes itself."""
        return self.folder / (ADAPTER_CONFIG if self.is_adapter else MODEL_CONFIG)


@dataclass(frozen=True)
class Fit:
    """How a saved model that fits its task is read.

    order: which of its outputs stands for each class of the task (None: its own order). reader: the tokenizer that it
    is saved with (None: the backbone's). notes: what a reader of its scores should know. fingerprint: of the rows in
    the record beside it, where the same ones are asked for.
    """

    order: list[int] | None = None
    reader: Reader | None = None
    notes: tuple[str, ...] = ()
    fingerprint: str | None = None


@dataclass(frozen=True)
class Stated:
    """What is said about a saved model elsewhere than in its folder.

    labels: on the command line, the names of its classes in the order of its outputs. recorded: the cell whose record
    lies beside it; fingerprint: that of its rows. any_base: whether an adapter may name another base than the backbone.
    """

    labels: tuple[str, ...] = ()
    recorded: Cell | None = None
    fingerprint: str | None = None
    any_base: bool = False


def fit_of(cell: Cell, saved: Saved, stated: Stated, base: Path) -> Fit:
    """Hold what `saved` says of itself, and what is `stated`, against the task and the backbone of `cell`.

    `base` is the prepared backbone. Raises BenchError that names both sides where they contradict each other.
    """
    config = read_description(saved.config)
    prepared = read_description(base / MODEL_CONFIG)
    names = None
    if saved.is_adapter:
        check_adapter_config(saved.config, config, cell.task, cell.backbone, any_base=stated.any_base)
    else:
        check_checkpoint(saved.config, config, cell.task, prepared, cell.backbone.name)
        names = class_names(saved.config, config)
    order, notes = _order(cell, saved, stated, names), []
    if order is not None:
        pairs = [f"output {output} is {label}" for output, label in zip(order, cell.task.labels, strict=True)]
        notes.append(f"{saved.folder}: its classes are in another order than the task's: {', '.join(pairs)}")
    reader = None
    if has_tokenizer(saved.folder):
        reader = Reader(saved.folder, base if saved.is_adapter else saved.folder)
    elif not saved.is_adapter:
        check_same_vocabulary(saved.config, config, prepared, cell.backbone.name)
    if reader is None and stated.recorded is None and cell.task.facts.input == "text":
        notes.append(f"{saved.folder}: no tokenizer in it, so that of backbone {cell.backbone.name!r} is used")
    recorded = stated.recorded
    same_rows = recorded and (cell.task, cell.backbone, cell.data) == (recorded.task, recorded.backbone, recorded.data)
    return Fit(order, reader, tuple(notes), stated.fingerprint if same_rows else None)


def _order(cell: Cell, saved: Saved, stated: Stated, names: Sequence[str] | None) -> list[int] | None:
    """By the names on the command line, else those in the model's config, else those of the record beside it."""
    if stated.labels and PROBLEM.get(cell.task.kind) != SINGLE_LABEL:
        raise BenchError(f"--label names classes, but task {cell.task.name!r} is {cell.task.kind}")
    if stated.labels:
        return class_order("the model, as --label says,", stated.labels, cell.task)
    recorded = stated.recorded.task if stated.recorded else None
    if recorded is not None and recorded.kind in PROBLEM and (names is None or only_numbers(names)):
        labels = recorded.labels if PROBLEM[recorded.kind] == SINGLE_LABEL else ["a number"]
        return class_order(f"{saved.folder}, by the record beside it,", labels, cell.task)
    return class_order(f"{saved.config}: the model", names, cell.task)


def evaluate_saved(cell: Cell, saved: Saved, fit: Fit, *, out: Path, cache: Path, mirror: Path | None) -> Record:
    """Score `saved` on the splits of the cell's task; write the record and the predictions to `out`.

    Of `cell` count the task, the rows, the storage and the backbone, which gives the base under an adapter. Rows and
    backbone must be prepared. Raises BenchError where tensors are missing from `saved` or do not fit.
    """
    try_modules(cell.task)
    device = usable_device()
    make_deterministic(cell.threads)
    torch.manual_seed(cell.seed)
    base = backbone_folder(cell.backbone, mirror, cache)
    key = fit.reader.key if fit.reader else None
    data = open_data(data_folder(cell.task, cell.backbone, cell.data, mirror, cache, key))
    manifest = open_backbone(base, cell.backbone)
    check_backbone(base, manifest)
    began = time.monotonic()
    model, notes = _load(cell, saved, base, device)
    if fit.fingerprint not in (None, data.manifest["fingerprint"]):
        notes = (*notes, f"{saved.folder}: the rows are read otherwise than those of the record beside it were")
    for note in (*fit.notes, *notes):
        logger.warning("%s", note)
    if fit.order is not None:
        model.register_forward_hook(_in_order(fit.order))
    load_seconds = time.monotonic() - began
    batch_size = cell.recipe.evaluation_batch_size
    tokenizer = load_processor(cell.task, fit.reader.tokenizer if fit.reader else base)
    evaluated = evaluate(model, cell.task, data.evaluation, tokenizer, batch_size, device)
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_predictions(
            out / PREDICTIONS, data.evaluation, evaluated.predictions, evaluated.scores, evaluated.details
        )
        record = _record(cell, saved, evaluated, data.manifest, manifest, out, device)
        seconds = {"load": load_seconds, "evaluation": time.monotonic() - began - load_seconds}
        about = {**record.evaluation, "seconds": seconds, "outputs": fit.order}
        about["tokenizer_sha256"] = data.manifest["tokenizer_sha256"]
        record = record.model_copy(update={"evaluation": about, "notes": (*record.notes, *fit.notes, *notes)})
        write_record(record, out)
    except OSError as error:
        raise BenchError(f"{out}: can't be written: {error}") from error
    return record


def _load(cell: Cell, saved: Saved, base: Path, device: torch.device) -> tuple[Any, tuple[str, ...]]:
    """The model with all that was saved, and what is worth a note. Raises BenchError where something is missing."""
    try:
        if saved.is_adapter:
            model, report = load_reported(cell, base, device)
            heads = head_modules(model, cell.backbone)
            report.require_backbone(heads)
            model = reload_adapter(model, saved.folder)
            check_heads(report.missing, saved.folder, saved_tensors(saved.folder))
            return model, ()
        model, report = load_reported(cell, saved.folder, device)
        report.require_all(model)
        spare = report.of_no_use(model)
        note = f"{saved.folder}: {listed('of no use to this model', spare)}"
        return model, (note,) if spare else ()
    except BenchError:
        raise
    except Exception as error:  # what stands in a config or in a file of weights may raise anything
        what = f"as a model of {cell.backbone.name!r} with the head of {cell.task.name!r}"
        said = textwrap.shorten(f"{type(error).__name__}: {error}", 400)  # PEFT lists every tensor, one a line
        raise BenchError(f"{saved.folder}: does not load {what}: {said}") from error


def _in_order(outputs: Sequence[int]) -> Callable[[torch.nn.Module, Any, Any], Any]:
    """A forward hook that puts a classifier's logits into the order of the task's classes."""

    def reorder(module: torch.nn.Module, inputs: Any, output: Any) -> Any:  # noqa: ARG001
        output.logits = output.logits[..., list(outputs)]
        return output

    return reorder


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
        notes=(*notes_of_repeated(data), *evaluated.notes),
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
        data=recorded_data(data),
        model=model,
        files={PREDICTIONS: digest(out / PREDICTIONS)},
    )


def recorded_fingerprint(folder: Path) -> str | None:
    """The fingerprint of the rows in the record that recorded_cell finds. Raises BenchError where it is damaged."""
    file = _record_beside(folder)
    return read_record(file).data.get("fingerprint") if file else None


def recorded_cell(folder: Path, folders: Sequence[Path] = ()) -> Cell | None:
    """The cell of the record in `folder` or in the folder above, beside which `folder` was saved; None without one.

    The files that its task names are looked up where the task's file is, in one of the workflow's `folders`, and in the
    working folder.

    Raises BenchError where the record is damaged, or its spec can't be read by this version.
    """
    file = _record_beside(folder)
    if file is None:
        return None
    record = read_record(file)
    return cell_in(record, file, folder_of_task(folders, record.cell.task) if folders else None)


def _record_beside(folder: Path) -> Path | None:
    files = (paths.record for paths in (CellPaths(folder), CellPaths(folder.parent)))
    return next((file for file in files if file.is_file()), None)
