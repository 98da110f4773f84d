"""Train and evaluate one cell, and write its record. A cell that is already recorded is left as it is.

By hand this prepares what the cell reads where it is missing; with --offline (as the pipeline's jobs run) it never uses
the network, and a missing file is an error at once.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from bench.commands.options import add_tries, cache_of
from bench.pipeline.environment import check_lock
from bench.pipeline.lease import lease
from bench.tracking.available import check_tracker
from bench.tracking.feed import feed

if TYPE_CHECKING:
    from bench.spec.cell import Cell


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--study", required=True, metavar="S")
    parser.add_argument("--task", required=True, metavar="T")
    parser.add_argument("--method", required=True, metavar="M")
    parser.add_argument("--budget", required=True, metavar="B")
    parser.add_argument("--seed", required=True, type=int, metavar="K")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder of the record")
    add_tries(parser)


def run(args: argparse.Namespace) -> None:
    """Returns once a record stands, typed failures (out of memory, diverged) included. Raises BenchError."""
    from bench.spec.resolve import load_study
    from bench.training.recorded import inputs_of, recorded

    study = load_study(args.study, args.set, args.workflow)
    check_tracker(study.study)
    cell = study.find(args.task, args.method, args.budget, args.seed)
    settle([cell], args)
    if recorded(args.out, inputs_of(cell, cache_of(args), args.mirror)) is None:
        import_for([cell])
    train_one(cell, args.out, args, study.study.tracker)


def settle(cells: Sequence[Cell], args: argparse.Namespace) -> None:
    """Prepare what `cells` read, unless told not to; from here on there is no network. Raises BenchError."""
    if not args.offline:
        # in a process of its own: what it imports and leaves behind is no part of the training's start and memory
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            for cell in cells:
                pool.submit(_prepare, cell, args.mirror, cache_of(args)).result()
    _settle_environment(cells[0].threads)
    check_lock()


def import_for(cells: Sequence[Cell]) -> None:
    from bench.training.imports import import_libraries

    import_libraries(quantised=any(cell.method.storage == "nf4" for cell in cells))


def train_one(cell: Cell, out: Path, args: argparse.Namespace, tracker: str | None) -> None:
    """Train `cell` under its lease. Raises BenchError."""
    with lease(out), feed(tracker, args.results / cell.study / "tracker", cell.study, cell.id) as watch:
        from bench.training.curve import unwatched
        from bench.training.run import train_cell

        train_cell(
            cell, out=out, cache=cache_of(args), mirror=args.mirror, attempt=args.attempt, attempts=args.attempts,
            watch=watch or unwatched,
        )  # fmt: skip
    with suppress(FileNotFoundError):  # a network file system may show it late; an empty file is never put in its place
        os.utime(out / "record.json")  # Snakemake compares times: what stands is what was asked for now


def _prepare(cell: Cell, mirror: Path | None, cache: Path) -> None:
    """What the cell reads, where it does not stand yet."""
    from bench.prepare.places import backbone_folder, data_folder

    if not (backbone_folder(cell.backbone, mirror, cache) / "manifest.json").is_file():
        from bench.prepare.models import prepare_backbone

        prepare_backbone(cell.backbone, mirror=mirror, cache=cache)
    if not (data_folder(cell.task, cell.backbone, cell.data, mirror, cache) / "manifest.json").is_file():
        from bench.prepare.data import prepare_task

        prepare_task(cell.task, cell.backbone, cell.data, mirror=mirror, cache=cache)


def _settle_environment(threads: int) -> None:
    """What the libraries read once, at their import: no network, the cell's threads, repeatable matrix products."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
        os.environ[name] = "1"
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
