"""bench train"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli.options import FOLDER, rung_option, training_options
from bench.config.peft_fields import check_peft_methods_apart
from bench.distributed import SINGLE_PROCESS, ProcessGroup, exit_with_parent, init_process_group, world_size
from bench.errors import BenchError
from bench.estimate.jobs import gpus
from bench.estimate.sharing import sharing
from bench.inputs.outdated import check_current
from bench.inputs.prepare import prepare_missing
from bench.lease import lease
from bench.paths import CachePaths
from bench.pipeline.folders import check_writable
from bench.pipeline.gpus import hold_gpus
from bench.pipeline.job import set_library_environment, touch
from bench.pipeline.locks import check_requirements_hash
from bench.pipeline.run_options import RunOptions
from bench.trackers.available import check_tracker
from bench.trackers.feed import feed
from bench.training.launch import launch
from bench.tuning.choose import chosen_cell
from bench.tuning.donors import with_ranks

if TYPE_CHECKING:
    from bench.config.cell import Cell
    from bench.config.resolve import ResolvedStudy
    from bench.training.course import Course


@click.command(short_help="Train and evaluate one cell.")
@training_options
@click.option("--task", required=True, metavar="T")
@click.option("--method", required=True, metavar="M")
@click.option("--budget", required=True, metavar="B")
@click.option("--seed", required=True, type=int, metavar="K")
@click.option("--point", metavar="KEY", help="train a trial: that of this point of the study's tuning")
@rung_option
@click.option("--out", type=FOLDER, metavar="DIR", help="folder of the record; default: its place below RESULTS")
def train(
    options: RunOptions,
    task: str,
    method: str,
    budget: str,
    seed: int,
    point: str | None,
    rung: int | None,
    out: Path | None,
) -> int:
    """Train and evaluate one cell, and write its record. A cell that is already recorded is left as it is.

    A trial is scored on the rows that it holds out of the training split; it reads no other split, and keeps no
    adapter. Under successive halving it is trained up to --rung, where its rivals are compared; without --rung to its
    end, if it is among the best, else its record says where it was stopped.

    By hand this prepares what the cell reads where it is missing; with --offline (as the pipeline's jobs run) it never
    uses the network, and a missing file is an error at once.

    The exit code is 0 if the cell was recorded, also where the record says that it ran out of memory or diverged.
    """
    study = options.load_study(needs_rows=True)
    check_tracker(study.study)
    cell = find_cell(options, study, task, method, budget, seed, point, rung)
    if out is not None:
        check_writable("--out", out)
    out = out or options.paths.cell(cell.id).folder
    if world_size() > 1:
        return _train_launched(cell, out, options, study, rung)
    set_up([cell], options, study)
    course = course_of(cell, out, options, study, rung)
    if is_done(course):
        return 0
    places = sharing(study, [cell], options.peaks_file, options.attempt, options.attempts)
    with hold_gpus(gpus(cell, study.study), places=places) as held:
        if cell.recipe.processes > 1:
            return _launch(course, options, held)
        train_alone(course, options, study.study.tracker)
    return 0


def find_cell(
    options: RunOptions,
    study: ResolvedStudy,
    task: str,
    method: str,
    budget: str,
    seed: int,
    point: str | None,
    rung: int | None,
) -> Cell:
    """The trial of `point`, which has that `rung`, or without one the cell with the values that its trials chose.

    The cell's record says from which trials it was chosen when it was trained. Trials that were made again since then
    and chose the same values change nothing of the cell, and it is not trained again to name their new hashes.

    A cell that takes over the ranks of another one has them from its record.

    Raises BenchError if there is none, or if a trial that decides the cell's values, or the cell that decides its
    ranks, has no record.
    """
    if point is None:
        cell = study.find(task, method, budget, seed)
        if rung is not None:
            raise BenchError(f"--rung {rung}: {cell.id} is no trial")
        return with_ranks(study, chosen_cell(study, cell, options.results), options.results)
    trial = study.find_trial(task, method, budget, point, seed)
    rungs = trial.trial.halving.rungs if trial.trial and trial.trial.halving else []
    if rung is not None and rung > len(rungs):
        raise BenchError(f"--rung {rung}: the number of rungs of {trial.id} is {len(rungs)}")
    return trial


def set_up(cells: Sequence[Cell], options: RunOptions, study: ResolvedStudy) -> None:
    """Prepare what `cells` read, unless the job is offline; after it nothing uses the network.

    A job that is offline is the pipeline's, which has checked the study's methods. Raises BenchError, there also where
    what is prepared is not what is on disk now.
    """
    options.check_writable()
    if options.offline:
        check_current(cells, options.mirror, options.cache_folder)
    else:
        check_peft_methods_apart(study.catalog, {cell.method.name for cell in cells})
        prepare_missing(cells, options.mirror, options.cache_folder)
    set_library_environment(cells[0].threads)
    check_requirements_hash()


def course_of(cell: Cell, out: Path, options: RunOptions, study: ResolvedStudy, rung: int | None) -> Course:
    """What is left to do of `cell` or of its rung. Raises BenchError if its inputs are not prepared."""
    from bench.training.course import Course
    from bench.training.done import inputs_of

    inputs = inputs_of(cell, options.cache_folder, options.mirror)
    rivals = study.trials.get(cell.group, ()) if cell.trial else ()
    return Course(cell, inputs, out, options.cache_folder, options.paths, rivals, rung)


def is_done(course: Course) -> bool:
    """Whether nothing is left to train. What was done before gets the present time, as Snakemake expects it."""
    with lease(course.out) if course.halving else nullcontext():
        done = course.next() is None
    if done:
        touch(course.output)
    return done


def train_alone(course: Course, options: RunOptions, tracker: str | None) -> None:
    """Train what is left of `course` in this process, under its lease. Raises BenchError."""
    with lease(course.out):
        for _ in range(course.parts):
            part = course.next()
            if part is None:
                break
            _train(course.cell, course.out, options, tracker, rung=part.rung)
        course.next()
    touch(course.output)


def _launch(course: Course, options: RunOptions, gpus: Sequence[str]) -> int:
    """Start the cell's processes under one lease. Returns 0 if the cell was recorded, else the exit code of a process.

    Raises BenchError if there are too few GPUs.
    """
    from bench.training.done import recorded

    out = course.out
    with lease(out):
        code, left = 0, course.next()  # another job may have done it while this one waited
        for _ in range(course.parts):
            if left is None or code:
                break
            code = launch(sys.argv[1:], course.cell.recipe.processes, gpus)
            left = course.next()
        record = recorded(out, course.inputs)
        # a process that records a failure for all cannot remove the checkpoints, which the others may still write
        if record is not None and record.status != "failed":
            shutil.rmtree(CachePaths(options.cache_folder).checkpoints(course.inputs.identity, out), ignore_errors=True)
    if left is not None:
        return code
    touch(course.output)
    return 0


def _train_launched(cell: Cell, out: Path, options: RunOptions, study: ResolvedStudy, rung: int | None) -> int:
    """The work of one process that torchrun's agent started. The agent's process holds the lease. Raises BenchError."""
    if world_size() != cell.recipe.processes:
        raise BenchError(f"WORLD_SIZE is {world_size()}, but the cell has {cell.recipe.processes} processes")
    exit_with_parent()
    set_library_environment(cell.threads)
    course = course_of(cell, out, options, study, rung)
    part = course.next()  # not None, and nothing is written: the agent's process found that something is left
    processes = init_process_group()
    tracker = study.study.tracker if processes.is_main else None
    if part is not None:
        _train(cell, out, options, tracker, processes, part.rung)
    return 0


def _train(
    cell: Cell,
    out: Path,
    options: RunOptions,
    tracker: str | None,
    processes: ProcessGroup = SINGLE_PROCESS,
    rung: int | None = None,
) -> None:
    from bench.training.curve import unwatched
    from bench.training.run import train_cell

    with feed(tracker, options.paths, cell.id) as watch:
        train_cell(
            cell,
            out=out,
            cache=options.cache_folder,
            mirror=options.mirror,
            attempt=options.attempt,
            attempts=options.attempts,
            watch=watch or unwatched,
            process_group=processes,
            rung=rung,
        )
