"""What a cell's job asks for: GPUs, memory, minutes, as the plan tells them. A task's file or the study overrides each.

The margins are generous: a job that asks for too little is killed and tried again with more (every attempt multiplies
both), and the record holds what was really used.
"""

from __future__ import annotations

import math

from bench.config.cell import Cell
from bench.config.study import Study
from bench.estimate.duration import Forecaster
from bench.estimate.host import growth_bound

PROCESS_MB = 3000  # interpreter, torch, and what a CUDA context takes on the host
DEFAULT_PARAMETERS = 30_000_000  # the demo's models; backbones of the hub say their own number
SUSTAINED_FLOPS = 8e12  # what a data-center GPU keeps up on batches of this size
STARTUP_MINUTES = 20  # imports and loading from shared storage, evaluation, one lost checkpoint interval
LONGEST_MINUTES = 24 * 60  # a usual partition limit; a longer cell is saved and resumed
MARGIN = 1.5  # on what the first attempt is foreseen to take


def gpus(cell: Cell, study: Study) -> int:
    """GPUs of a job, one a process; a machine without any runs the cell on its CPU."""
    return cell.recipe.processes * _first(cell.task.resources.gpus, study.resources.gpus, 1)


def cores(cell: Cell) -> int:
    """CPU cores of a job."""
    return cell.recipe.processes * cell.threads


def memory_mb(cell: Cell, study: Study, attempt: int = 1) -> int:
    """Host memory, in MB, of all its processes. Each: itself, the weights twice (read, then cast or quantized), and
    without a GPU what training takes above them."""
    parameters = cell.backbone.parameters or DEFAULT_PARAMETERS
    needed = 2 * 4 * parameters
    if gpus(cell, study) == 0:
        needed += math.ceil(MARGIN * (growth_bound(cell, parameters) or 0))
    needed_mb = cell.recipe.processes * (PROCESS_MB + math.ceil(needed / 1e6))
    return attempt * _first(cell.task.resources.mem_mb, study.resources.mem_mb, needed_mb)


def minutes(cell: Cell, study: Study, attempt: int = 1, known: Forecaster | None = None) -> int:
    """Run time: from records of cells like it, else 6 floating-point operations a parameter and token (forward and
    backward)."""
    recipe = cell.recipe
    steps = recipe.total_steps((cell.declared_train_rows or 10_000) - recipe.holdout_rows)
    forecast = known.seconds(cell, steps if cell.declared_train_rows else None) if known else None
    if forecast:
        seconds = forecast.seconds
    else:
        tokens = steps * recipe.batch_size * (recipe.max_length + _target_length(cell)) / 2
        rate = SUSTAINED_FLOPS * recipe.processes
        seconds = 6 * (cell.backbone.parameters or DEFAULT_PARAMETERS) * tokens / rate
    estimate = min(LONGEST_MINUTES, STARTUP_MINUTES + math.ceil(MARGIN * seconds / 60))
    return attempt * _first(cell.task.resources.runtime, study.resources.runtime, estimate)


def _target_length(cell: Cell) -> int:
    return cell.recipe.max_target_length if cell.task.generates else 0


def _first(*values: int | None) -> int:
    return next(value for value in values if value is not None)
