"""What the job of a cell asks the cluster for: GPUs, cores, memory, minutes. A task's file or the study overrides each.

The margins are generous, because a job that asks for too little is killed. Every further attempt asks for a multiple of
the first, of minutes up to a day, and the record holds what was really used. Snakemake reads this module at every
parse, so it imports neither torch nor pandas.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bench.config.cell import Cell
from bench.config.study import Study
from bench.estimate.duration import Forecaster
from bench.estimate.hardware import CPU, UNKNOWN_GPU, Hardware
from bench.estimate.lengths import longest_source
from bench.estimate.run_time import DEFAULT_PARAMETERS, LAYER_KEYS, run_time

PROCESS_MB = 3000  # interpreter, torch, and what a CUDA context takes on the host
STARTUP_MINUTES = 20  # imports and loading from shared storage, evaluation, one lost checkpoint interval
LONGEST_MINUTES = 24 * 60  # a usual partition limit, above which Slurm refuses jobs; a longer cell is saved and resumed
MARGIN = 1.5  # on what the first attempt is predicted to take

# For the bound of a training's memory on the CPU.
TRAINED_SHARE = 0.05  # of the backbone's parameters; adapters and heads hold less
STATE_BYTES = 6 * 4  # per trained parameter: itself, its gradient, two moments, two importances


def gpus(cell: Cell, study: Study) -> int:
    """GPUs of the job: one per process. A machine without any runs the cell on its CPU."""
    return cell.recipe.processes * _first_given(cell.task.resources.gpus, study.resources.gpus, 1)


def cores(cell: Cell) -> int:
    """CPU cores of the job."""
    return cell.recipe.processes * cell.threads


def memory_mb(cell: Cell, study: Study, attempt: int = 1) -> int:
    """Host memory of the job in MB, for all its processes.

    Each process takes its own part, the weights twice (as read, and as cast or quantized), without a GPU what training
    takes above them, and for GoRA a gradient of each weight.
    """
    parameters = cell.backbone.parameters or DEFAULT_PARAMETERS
    needed = (3 if cell.method.gathers_gradients else 2) * 4 * parameters
    if gpus(cell, study) == 0:
        needed += math.ceil(MARGIN * (growth_bound(cell, parameters) or 0))
    needed_mb = cell.recipe.processes * (PROCESS_MB + math.ceil(needed / 1e6))
    return attempt * _first_given(cell.task.resources.mem_mb, study.resources.mem_mb, needed_mb)


def hardware_for(cell: Cell, study: Study, hardware: Hardware) -> Hardware:
    """What the job of `cell` runs on, on machines with `hardware`: the CPU where it asks for no GPU."""
    return (
        replace(CPU, remote=hardware.remote, slurm=hardware.slurm)
        if hardware.gpu and gpus(cell, study) == 0
        else hardware
    )


def minutes(
    cell: Cell, study: Study, attempt: int = 1, times: Forecaster | None = None, hardware: Hardware = UNKNOWN_GPU
) -> int:
    """Run time of the job in minutes on `hardware`, from records where `times` on it has some, with a margin.

    No attempt asks for more than a day, unless the task's file or the study does.
    """
    seconds = run_time(cell, hardware_for(cell, study, hardware), times).seconds
    estimate = min(LONGEST_MINUTES, STARTUP_MINUTES + math.ceil(MARGIN * seconds / 60))
    first = _first_given(cell.task.resources.runtime, study.resources.runtime, estimate)
    return _in_a_day(attempt * first, first)


def one_after_another(minutes_of_cells: Sequence[int]) -> int:
    """Run time of a job that trains cells one after another, in minutes: at most a day, or that of its longest cell."""
    return _in_a_day(sum(minutes_of_cells), max(minutes_of_cells))


def _in_a_day(minutes: int, least: int) -> int:
    """What a job lacks at its limit, the next attempt goes on with; a job that may not start has no next attempt."""
    return min(minutes, max(LONGEST_MINUTES, least))


def given_minutes(cell: Cell, study: Study) -> bool:
    """Whether the task's file or the study says the minutes."""
    return cell.task.resources.runtime is not None or study.resources.runtime is not None


def growth_bound(cell: Cell, parameters: int) -> int | None:
    """An upper bound of the bytes that training on the CPU takes above the loaded model, from the config alone.

    `predict_peak` in bench/estimate/memory.py gives the exact number, but it needs torch and seconds. `parameters` are
    those of the backbone. None where the config names no width.
    """
    config, recipe = cell.backbone.config, cell.recipe
    width = _first_key(config, "hidden_size", "d_model", "n_embd")
    if width is None:
        return None
    layers = sum(config.get(key, 0) for key in LAYER_KEYS)
    inner = _first_key(config, "intermediate_size", "encoder_ffn_dim", "d_ff", "n_inner") or 4 * width
    heads = _first_key(config, "num_attention_heads", "encoder_attention_heads", "num_heads", "n_head") or 1
    rows = -(-recipe.batch_size // recipe.micro_batches) * cell.task.sequences_per_row  # rounded up
    # A decoder reads prompt and completion as one sequence.
    behind = recipe.max_target_length if cell.task.facts.family == "decoder" else 0
    length = longest_source(cell) // cell.task.sequences_per_row + behind
    tokens = rows * length
    # Attention on the CPU keeps scores, softmax and dropout's mask of length times length; DeBERTa's relative positions
    # add two more matrices of scores.
    scores = rows * heads * length**2 * (3 if config.get("relative_attention") else 1)
    # Float32 elements that are kept for backward. The factors are generous: what the bound must lie between is held by
    # tests/estimate/test_peak_prediction.py.
    activations = layers * (tokens * (20 * width + 5 * inner) + 5 * scores)
    if cell.task.facts.target_tokens:  # logits over the vocabulary, and what their loss keeps
        activations += 4 * rows * recipe.max_target_length * config.get("vocab_size", 0)
    trained = parameters if cell.method.adapter == "full" else TRAINED_SHARE * parameters
    return int(4 * activations + STATE_BYTES * trained)


def _first_given(*values: int | None) -> int:
    return next(value for value in values if value is not None)


def _first_key(config: dict[str, Any], *keys: str) -> int | None:
    """The value of the first key that `config` has; architectures name the same size differently."""
    return next((config[key] for key in keys if config.get(key)), None)
