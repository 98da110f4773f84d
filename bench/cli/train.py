"""Train and evaluate one cell, and write its record. A cell that is already recorded is left as it is.

By hand this prepares what the cell reads where it is missing; with --offline (as the pipeline's jobs run) it never uses
the network, and a missing file is an error at once.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.options import add_tries, cache_of, study_of
from bench.distributed import SINGLE_PROCESS, ProcessGroup, exit_with_parent, init_process_group, world_size
from bench.errors import BenchError
from bench.estimate.jobs import gpus
from bench.paths import MANIFEST, CachePaths, CellPaths, StudyPaths
from bench.pipeline.environment import check_lock
from bench.pipeline.gpus import hold_gpus
from bench.pipeline.lease import lease
from bench.trackers.available import check_tracker
from bench.trackers.feed import feed
from bench.training.launch import launch

if TYPE_CHECKING:
    from bench.config.cell import Cell
    from bench.training.done import Inputs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--study", required=True, metavar="S")
    parser.add_argument("--task", required=True, metavar="T")
    parser.add_argument("--method", required=True, metavar="M")
    parser.add_argument("--budget", required=True, metavar="B")
    parser.add_argument("--seed", required=True, type=int, metavar="K")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder of the record")
    add_tries(parser)


def run(args: argparse.Namespace) -> int:
    """0 once a record stands, typed failures (out of memory, diverged) included; else a process's exit code. Raises
    BenchError."""
    from bench.training.done import inputs_of, recorded

    study = study_of(args, reads=True)
    check_tracker(study.study)
    cell = study.find(args.task, args.method, args.budget, args.seed)
    if world_size() > 1:
        return _train_launched(cell, args, study.study.tracker)
    settle([cell], args)
    inputs = inputs_of(cell, cache_of(args), args.mirror)
    if recorded(args.out, inputs) is not None:
        _touch(args.out)
        return 0
    with hold_gpus(gpus(cell, study.study)) as held:
        if cell.recipe.processes > 1:
            return _launch(cell, args, inputs, held)
        train_one(cell, args.out, args, study.study.tracker)
    return 0


def _launch(cell: Cell, args: argparse.Namespace, inputs: Inputs, gpus: Sequence[str]) -> int:
    """Start the cell's processes under one lease, and see to what they leave; their exit code. Raises BenchError."""
    from bench.training.done import recorded

    with lease(args.out):
        code = launch(args.words, cell.recipe.processes, gpus)
        record = recorded(args.out, inputs)
        if record is not None and record.status != "failed":  # one that failed for all can't clear up after the others
            shutil.rmtree(CachePaths(cache_of(args)).checkpoints(inputs.identity, args.out), ignore_errors=True)
    if record is None:
        return code
    _touch(args.out)
    return 0


def _train_launched(cell: Cell, args: argparse.Namespace, tracker: str | None) -> int:
    """What each process does that torchrun's agent started; the agent's process holds the lease. Raises BenchError."""
    if world_size() != cell.recipe.processes:
        raise BenchError(f"WORLD_SIZE is {world_size()}, but the cell has {cell.recipe.processes} processes")
    exit_with_parent()
    _settle_environment(cell.threads)
    processes = init_process_group()
    _train(cell, args.out, args, tracker if processes.is_main else None, processes)
    return 0


def settle(cells: Sequence[Cell], args: argparse.Namespace) -> None:
    """Prepare what `cells` read, unless told not to; from here on there is no network. Raises BenchError."""
    if not args.offline:
        # in a process of its own: what it imports and leaves behind is no part of the training's start and memory
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            for cell in cells:
                pool.submit(_prepare, cell, args.mirror, cache_of(args)).result()
    _settle_environment(cells[0].threads)
    check_lock()


def train_one(cell: Cell, out: Path, args: argparse.Namespace, tracker: str | None) -> None:
    """Train `cell` under its lease. Raises BenchError."""
    with lease(out):
        _train(cell, out, args, tracker)
    _touch(out)


def _train(
    cell: Cell, out: Path, args: argparse.Namespace, tracker: str | None, processes: ProcessGroup = SINGLE_PROCESS
) -> None:
    with feed(tracker, StudyPaths(args.results, cell.study), cell.id) as watch:
        from bench.training.curve import unwatched
        from bench.training.run import train_cell

        train_cell(
            cell, out=out, cache=cache_of(args), mirror=args.mirror, attempt=args.attempt, attempts=args.attempts,
            watch=watch or unwatched, process_group=processes,
        )  # fmt: skip


def _touch(out: Path) -> None:
    """Snakemake compares times: what stands is what was asked for now. A network file system may show it late, or there
    is none; an empty file is never put in its place."""
    with suppress(FileNotFoundError):
        os.utime(CellPaths(out).record)


def _prepare(cell: Cell, mirror: Path | None, cache: Path) -> None:
    """What the cell reads, where it does not stand yet."""
    from bench.inputs.cache_keys import backbone_folder, data_folder

    if not (backbone_folder(cell.backbone, mirror, cache) / MANIFEST).is_file():
        from bench.inputs.backbones import prepare_backbone

        prepare_backbone(cell.backbone, mirror=mirror, cache=cache)
    if not (data_folder(cell.task, cell.backbone, cell.data, mirror, cache) / MANIFEST).is_file():
        from bench.inputs.datasets import prepare_task

        prepare_task(cell.task, cell.backbone, cell.data, mirror=mirror, cache=cache)


def _settle_environment(threads: int) -> None:
    """What the libraries read once, at their import: no network, the cell's threads, repeatable matrix products."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
        os.environ[name] = "1"
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
