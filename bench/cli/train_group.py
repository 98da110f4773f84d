"""bench group"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

import click

from bench.cli.options import rung_option, training_options
from bench.cli.train import course_of, find_cell, is_done, set_up, train_alone
from bench.errors import EXIT_TRY_AGAIN, BenchError
from bench.estimate.jobs import gpus
from bench.estimate.sharing import sharing
from bench.nvml import Gpu, cells_on_gpu
from bench.pipeline.gpus import hold_gpus
from bench.pipeline.run_options import RunOptions
from bench.trackers.available import check_tracker

if TYPE_CHECKING:
    from bench.config.cell import Cell
    from bench.config.resolve import ResolvedStudy


@click.command(short_help="Train and evaluate several cells of one task, which share the libraries' start.")
@training_options
@click.option("--task", required=True, metavar="T")
@click.option(
    "--cells",
    "first",
    required=True,
    metavar="M/B/K ...",
    help="method/budget/seed of each cell, or method/budget/point/seed of each trial",
)
@rung_option
# An option of click takes one value, so the further ones of `--cells A B C` come as arguments.
@click.argument("further", nargs=-1, metavar="")
def group(options: RunOptions, task: str, rung: int | None, first: str, further: tuple[str, ...]) -> int:
    """Train and evaluate several cells of one task in one job.

    Each is trained as `bench train` would train it, bit for bit, but the libraries are imported once. A trial is named
    with its point, such as lora/small/1f0c22ab/100; --rung is that of all of them. If one cell fails, the others still
    finish and are recorded. Records and logs are where the pipeline has them, below RESULTS/STUDY. On a GPU up to
    `cells_per_gpu` of the study are trained at the same time, with `auto` as many as fit by their predicted peaks.

    The exit code is 0 if every cell was recorded, else the largest exit code of a cell.
    """
    from bench.training.group import Group, Job

    study = options.load_study(needs_rows=True)
    check_tracker(study.study)
    named = [_named(options, study, task, name, rung) for name in (first, *further)]
    cells = list({cell.id: cell for cell in named}.values())
    set_up(cells, options, study)
    courses = [course_of(cell, options.paths.cell(cell.id).folder, options, study, rung) for cell in cells]
    missing = [course for course in courses if not is_done(course)]
    if not missing:
        return 0
    jobs = {}
    for course in missing:
        name = course.cell.id
        log = options.paths.rung_log(name, rung) if rung else options.paths.log(name)
        jobs[name] = Job(name, partial(train_alone, course, options, study.study.tracker), log)
    # All cells of the job count, done or not, as they did when the job was asked for.
    number = sharing(study, cells, options.peaks_file, options.attempt, options.attempts)

    def at_once(gpu: Gpu) -> int:
        return min(number if isinstance(number, int) else number(gpu), len(jobs))

    codes = {}
    with hold_gpus(max(gpus(course.cell, study.study) for course in missing), at_once=at_once) as held:
        processes = Group()
        with processes.passing_signals():
            for name, code in processes.run(list(jobs.values()), cells_on_gpu() if held else 1):
                said = "recorded" if code == 0 else f"exit code {code}, see {jobs[name].log}"
                print(f"{name}: {said}", file=sys.stderr)
                codes[name] = code
    return max(codes.values()) if len(codes) == len(jobs) else EXIT_TRY_AGAIN


def _named(options: RunOptions, study: ResolvedStudy, task: str, name: str, rung: int | None) -> Cell:
    """The cell 'lora/small/0', or the trial 'lora/small/1f0c22ab/100', of `task`. Raises BenchError."""
    method, budget, *point, seed = parts if len(parts := name.split("/")) in (3, 4) else ("", "", "")
    if not seed.isdecimal():
        raise BenchError(
            f"--cells: expected method/budget/seed, such as lora/small/0, or method/budget/point/seed of a trial, "
            f"found {name!r}"
        )
    return find_cell(options, study, task, method, budget, int(seed), point[0] if point else None, rung)
