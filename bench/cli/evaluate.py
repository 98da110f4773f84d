"""Score a saved adapter or a plain checkpoint on a task; print the scores and leave a record of kind `evaluation`.

PATH is the folder of a cell, of an adapter (adapter_config.json) or of a checkpoint (config.json), in safetensors.
Beside a cell's record nothing else need be said; else --task and --backbone name rows, tokenizer and base.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.options import add_workflow, cache_of
from bench.errors import BenchError, nearest
from bench.paths import RESULTS, CellPaths, evaluation_folder
from bench.pipeline.gpus import hold_gpus

if TYPE_CHECKING:
    from bench.config.cell import Cell

STORAGES = ("fp32", "bf16", "nf4")
OUT = (
    "default: RESULTS/evaluations/TASK/METHOD/BUDGET/seed-K, as the record beside it has them; without one "
    "RESULTS/evaluations/TASK/NAME, the last part of PATH"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, metavar="PATH", help="folder of a cell, an adapter or a checkpoint")
    parser.add_argument("--task", metavar="T", help="default: the task of the cell's record")
    parser.add_argument("--backbone", metavar="B", help="default: the backbone of the cell's record")
    parser.add_argument("--storage", choices=STORAGES, help="of the base; default: the record's, or fp32")
    parser.add_argument("--embedded", action="store_true", help="score on the generated rows, not on the hub's")
    parser.add_argument("--rows", type=int, metavar="N", help="evaluate so many rows of a split at the most")
    parser.add_argument("--out", type=Path, metavar="DIR", help=OUT)
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR", help="default: results")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="prepared data and models; default: RESULTS/cache")
    parser.add_argument("--mirror", type=Path, metavar="DIR", help="read data sets and models here, not from the hub")
    add_workflow(parser)


def run(args: argparse.Namespace) -> None:
    """Raises BenchError."""
    from bench.evaluation.saved import Saved, evaluate_saved, recorded_cell
    from bench.inputs.backbones import prepare_backbone
    from bench.inputs.datasets import prepare_task

    cell_paths = CellPaths(args.path)
    folder = next((path for path in (cell_paths.adapter, cell_paths.model) if path.is_dir()), args.path)
    saved = Saved.at(folder)
    recorded = recorded_cell(folder)
    cell = _cell(args, recorded)
    name = f"{recorded.study}/{cell.id}" if recorded else f"{cell.task.name}/{args.path.resolve().name}"
    out: Path = args.out or evaluation_folder(args.results, _inside(args.path, name))
    _spare_training(out)
    cache = cache_of(args)
    prepare_backbone(cell.backbone, mirror=args.mirror, cache=cache)
    prepare_task(cell.task, cell.backbone, cell.data, mirror=args.mirror, cache=cache)
    with hold_gpus(1):
        record = evaluate_saved(cell, saved, out=out, cache=cache, mirror=args.mirror)
    for split, found in record.metrics.items():
        for metric, value in found["last"].items():
            print(f"{cell.task.name} {split} {metric}: {'undefined' if value is None else f'{100 * value:.2f}'}")
    print(CellPaths(out).record)


def _spare_training(out: Path) -> None:
    """Raises BenchError where `out` holds the record of a training, which would be lost."""
    from bench.records.io import read_record

    if (file := CellPaths(out).record).is_file() and read_record(file).kind == "training":
        raise BenchError(f"--out {out}: holds the record of a training; name another folder")


def _inside(path: Path, name: str) -> str:
    """`name`, which leads out of no folder. Raises BenchError."""
    if ".." in Path(name).parts:  # a record may come from anywhere, and its budget is any text
        raise BenchError(f"{path}: the record beside it calls its cell {name!r}: name --out")
    return name


def _cell(args: argparse.Namespace, recorded: Cell | None) -> Cell:
    """The cell that says what is scored on what: that of the record, with what the command line names in its place."""
    from bench.config.budget import Budget
    from bench.config.catalog import load_catalog
    from bench.config.cell import Cell, DataChoice
    from bench.config.method import Method

    catalog = load_catalog(args.workflow)
    for what, have in (("task", catalog.tasks), ("backbone", catalog.backbones)):
        name = getattr(args, what)
        if name is None and recorded is None:
            raise BenchError(f"{args.path}: no record beside it, so --{what} must be named")
        if name is not None and name not in have:
            raise BenchError(f"--{what}: unknown {what} {name!r}{nearest(name, have)}")
    if args.rows is not None and args.rows < 1:
        raise BenchError(f"--rows: expected a whole number from 1, found {args.rows}")
    task = catalog.tasks[args.task].item if args.task else recorded.task  # type: ignore[union-attr]
    backbone = catalog.backbones[args.backbone].item if args.backbone else recorded.backbone  # type: ignore[union-attr]
    if task.kind not in backbone.kinds:
        raise BenchError(f"backbone {backbone.name!r} serves {', '.join(backbone.kinds)}, not {task.kind}")
    choice = DataChoice(source="embedded" if args.embedded else "hub", train_rows=1, evaluation_rows=args.rows)
    if recorded is not None and args.task is None:
        chosen = recorded.data if args.rows is None else recorded.data.model_copy(update={"evaluation_rows": args.rows})
        choice = chosen.model_copy(update={"source": "embedded"}) if args.embedded else chosen
    method = recorded.method if recorded else Method(name="saved", label="saved", adapter="lora")
    if args.storage:
        method = method.model_copy(update={"storage": args.storage})
    return Cell(
        study="evaluation",
        task=task,
        backbone=backbone,
        method=method,
        budget_name=recorded.budget_name if recorded else "saved",
        budget=recorded.budget if recorded else Budget(rank=1),
        seed=recorded.seed if recorded else 0,
        recipe=task.recipe if args.task or recorded is None else recorded.recipe,
        data=choice,
        threads=recorded.threads if recorded else 1,
    )
