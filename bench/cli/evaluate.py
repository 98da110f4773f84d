"""bench evaluate"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from bench.cli.options import FOLDER, cache_option, mirror_option, results_option, workflow_option
from bench.errors import BenchError, nearest
from bench.paths import CellPaths, default_cache, evaluation_folder
from bench.pipeline.folders import check_writable
from bench.pipeline.job import set_gpu_allocator

if TYPE_CHECKING:
    from bench.config.catalog import Catalog
    from bench.config.cell import Cell, DataChoice
    from bench.config.method import Method

OUT = (
    "default: RESULTS/evaluations/TASK/METHOD/BUDGET/seed-K, as the record beside it has them; without one "
    "RESULTS/evaluations/TASK/NAME, the last part of PATH"
)


@dataclass(frozen=True)
class Named:
    """Options that replace what the record beside the adapter says. None: as the record says."""

    task: str | None
    backbone: str | None
    storage: str | None
    embedded: bool
    rows: int | None


@click.command(short_help="Score a saved adapter or a checkpoint on a task.")
@click.argument("path", type=FOLDER, metavar="PATH")
@click.option("--task", metavar="T", help="default: the task of the cell's record")
@click.option("--backbone", metavar="B", help="default: the backbone of the cell's record")
@click.option(
    "--storage", type=click.Choice(["fp32", "bf16", "nf4"]), help="of the base; default: the record's, or fp32"
)
@click.option("--embedded", is_flag=True, help="score on the generated rows, not on the hub's")
@click.option("--rows", type=int, metavar="N", help="evaluate at most so many rows of a split")
@click.option(
    "--label", multiple=True, metavar="NAME", help="class of the model's first output, of its second, and so on"
)
@click.option("--any-base", is_flag=True, help="score an adapter whose config names another base than the backbone")
@click.option("--out", type=FOLDER, metavar="DIR", help=OUT)
@results_option
@cache_option
@mirror_option
@workflow_option
def evaluate(
    path: Path,
    task: str | None,
    backbone: str | None,
    storage: str | None,
    embedded: bool,
    rows: int | None,
    label: tuple[str, ...],
    any_base: bool,
    out: Path | None,
    results: Path,
    cache: Path | None,
    mirror: Path | None,
    workflow: Path | None,
) -> None:
    """Score a saved adapter or a plain checkpoint on a task; print the scores and leave a record of kind `evaluation`.

    PATH is the folder of a cell, of an adapter (adapter_config.json) or of a checkpoint (config.json), in safetensors.
    Beside a cell's record nothing else need be said; else --task and --backbone name rows and base. A model that names
    its classes is scored by these names, and its own tokenizer is used if it is saved with one.
    """
    set_gpu_allocator()
    from bench.config.catalog import load_catalog
    from bench.config.folders import workflow_folders
    from bench.evaluation.saved import Saved, Stated, evaluate_saved, fit_of, recorded_cell, recorded_fingerprint
    from bench.inputs.backbones import prepare_backbone
    from bench.inputs.datasets import prepare_task
    from bench.pipeline.gpus import hold_gpus

    of_cell = CellPaths(path)
    folder = next((place for place in (of_cell.adapter, of_cell.model) if place.is_dir()), path)
    saved = Saved.at(folder)
    recorded = recorded_cell(folder, workflow_folders(workflow))
    cell = _cell_to_score(path, Named(task, backbone, storage, embedded, rows), recorded, load_catalog(workflow))
    name = f"{recorded.study}/{cell.id}" if recorded else f"{cell.task.name}/{path.resolve().name}"
    out = out or evaluation_folder(results, _checked(name, path))
    check_writable("--out", out)
    _refuse_training_record(out)
    cache = cache or default_cache(results)
    base = prepare_backbone(cell.backbone, mirror=mirror, cache=cache)
    fit = fit_of(cell, saved, Stated(label, recorded, recorded_fingerprint(folder), any_base), base)
    prepare_task(cell.task, cell.backbone, cell.data, mirror=mirror, cache=cache, reader=fit.reader)
    with hold_gpus(1):
        record = evaluate_saved(cell, saved, fit, out=out, cache=cache, mirror=mirror)
    for split, scores in record.metrics.items():
        for metric, value in scores["last"].items():
            facts = cell.task.metric_facts(metric)
            shown = "undefined" if value is None else f"{facts.shown(value):z.{facts.digits}f}"
            print(f"{cell.task.name} {split} {metric}: {shown}")
    print(CellPaths(out).record)


def _refuse_training_record(out: Path) -> None:
    """Raises BenchError if `out` holds the record of a training or of a trial, which would be lost."""
    from bench.records.io import read_record

    record = CellPaths(out).record
    if record.is_file() and read_record(record).kind != "evaluation":
        raise BenchError(f"--out {out}: holds the record of a training; name another folder")


def _checked(name: str, path: Path) -> str:
    """`name`, which becomes part of a path. Raises BenchError if it would lead out of the results.

    A record may come from anywhere, and its budget can be called anything.
    """
    if ".." in Path(name).parts:
        raise BenchError(f"{path}: the record beside it calls its cell {name!r}: name --out")
    return name


def _cell_to_score(path: Path, named: Named, recorded: Cell | None, catalog: Catalog) -> Cell:
    """The cell to score: that of the record, if there is one, with what the command line names in place of its parts.

    Raises BenchError if something is named nowhere, is unknown, or if the backbone does not serve the task.
    """
    from bench.config.budget import Budget
    from bench.config.cell import Cell

    for what, name, valid in (
        ("task", named.task, catalog.tasks),
        ("backbone", named.backbone, catalog.backbones),
    ):
        if name is None and recorded is None:
            raise BenchError(f"{path}: no record beside it, so --{what} must be named")
        if name is not None and name not in valid:
            raise BenchError(f"--{what}: unknown {what} {name!r}{nearest(name, valid)}")
    if named.rows is not None and named.rows < 1:
        raise BenchError(f"--rows: expected a whole number from 1, found {named.rows}")
    task = catalog.tasks[named.task].item if named.task else recorded.task  # type: ignore[union-attr]
    backbone = catalog.backbones[named.backbone].item if named.backbone else recorded.backbone  # type: ignore[union-attr]
    if task.kind not in backbone.kinds:
        raise BenchError(f"backbone {backbone.name!r} serves {', '.join(backbone.kinds)}, not {task.kind}")
    method = _method(named, recorded)
    if method.adapter == "full" and method.storage != "fp32":
        raise BenchError(
            f"{path}: method {method.name!r} trained the whole model, which is scored as it was stored: leave out "
            f"--storage {method.storage}"
        )
    return Cell(
        study="evaluation",
        task=task,
        backbone=backbone,
        method=method,
        budget_name=recorded.budget_name if recorded else "saved",
        budget=recorded.budget if recorded else Budget(rank=1),
        seed=recorded.seed if recorded else 0,
        recipe=task.recipe if named.task or recorded is None else recorded.recipe,
        data=_data(named, recorded),
        threads=recorded.threads if recorded else 1,
    )


def _method(named: Named, recorded: Cell | None) -> Method:
    from bench.config.method import Method

    method = recorded.method if recorded else Method(name="saved", label="saved", adapter="lora")
    return method.model_copy(update={"storage": named.storage}) if named.storage else method


def _data(named: Named, recorded: Cell | None) -> DataChoice:
    """The rows to score on. The record's choice of rows applies only to the record's own task."""
    from bench.config.cell import DataChoice

    if recorded is None or named.task is not None:
        source: Literal["hub", "embedded"] = "embedded" if named.embedded else "hub"
        return DataChoice(source=source, train_rows=1, evaluation_rows=named.rows)
    changes = {
        **({"evaluation_rows": named.rows} if named.rows is not None else {}),
        **({"source": "embedded"} if named.embedded else {}),
    }
    return recorded.data.model_copy(update=changes)
