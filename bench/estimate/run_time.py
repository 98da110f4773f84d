"""How long the job of a cell is expected to take: by records of cells like it, else by the rate of what it runs on.

Snakemake reads this module at every parse, so it imports neither torch nor pandas.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from bench.config.cell import Cell
from bench.estimate.duration import Forecast, Forecaster
from bench.estimate.hardware import Hardware
from bench.estimate.lengths import longest_source

DEFAULT_PARAMETERS = 30_000_000  # the demo's models; the files of the hub's backbones say their own number
DEFAULT_ROWS = 10_000
DEFAULT_LAYERS = 12
LAYER_KEYS = ("num_hidden_layers", "encoder_layers", "decoder_layers", "num_layers", "num_decoder_layers", "n_layer")
# Per layer of the model and pass on a GPU: about 250 operators (benchmarks/adalora_step.py counts those of DeBERTa),
# which the host starts one by one. The 10 microseconds of each are an assumption.
LAUNCH_SECONDS = 250 * 10e-6
FORWARD = 1 / 3  # of the operations of a training pass; its launches are about as many as those of the backward pass


@dataclass(frozen=True)
class RunTime:
    """The predicted seconds of a cell; `forecast` is None where no record tells and `flops` per second of one process,
    of `hardware`, were assumed."""

    seconds: float
    forecast: Forecast | None
    hardware: Hardware
    flops: float

    def basis(self, cell: Cell) -> dict[str, Any]:
        """What the seconds come from, as plain JSON."""
        if self.forecast:
            known = self.forecast
            return {"records": known.records, "same": known.by, "device": known.device, "slower": known.slower}
        card = self.hardware.card
        precision = card.precision(cell.method.storage) if card else None
        device = (
            card.name if card else self.hardware.model or ("a GPU of unknown model" if self.hardware.gpu else "CPU")
        )
        return {"device": device, "precision": precision, "flops_per_second": self.flops}


def run_time(cell: Cell, hardware: Hardware, times: Forecaster | None = None) -> RunTime:
    """The seconds of `cell` on `hardware`, from records where `times` has some of cells like it.

    Else from 6 floating-point operations per parameter and token (2 forward, 4 backward) at the hardware's rate, and on
    a GPU from the time in which the host starts the kernels; the evaluation at the end is counted so too.
    """
    recipe = cell.recipe
    steps = recipe.total_steps((cell.declared_train_rows or DEFAULT_ROWS) - recipe.holdout_rows)
    flops = hardware.flops(cell.method.storage, cell.threads)
    forecast = times.forecast(cell, steps if cell.declared_train_rows else None) if times else None
    if forecast:
        return RunTime(forecast.seconds, forecast, hardware, flops)
    tokens = steps * recipe.batch_size * _tokens_per_row(cell)
    seconds = _seconds(cell, hardware, flops, tokens / recipe.processes, steps * recipe.accumulation)
    return RunTime(seconds + _evaluation_seconds(cell, hardware, flops), None, hardware, flops)


def evaluated_rows(cell: Cell) -> int:
    """Rows that a cell is scored on: of all its splits, as far as the task's file declares them or a limit does."""
    if cell.trial is not None:
        return cell.recipe.holdout_rows
    limit, declared = cell.data.evaluation_rows, cell.task.data.rows
    known = (declared.get(split, limit) for split in cell.task.data.evaluation.values())
    return sum(min(rows, limit or rows) for rows in known if rows is not None)


def _evaluation_seconds(cell: Cell, hardware: Hardware, flops: float) -> float:
    """A forward pass over every row, and one more for each token of the longest text that may be written."""
    rows = math.ceil(evaluated_rows(cell) / cell.recipe.processes)  # each process takes some of the batches
    batches = math.ceil(rows / cell.recipe.evaluation_batch_size)
    seconds = FORWARD * _seconds(cell, hardware, flops, rows * _tokens_per_row(cell), batches)
    if cell.task.generates and cell.task.generation is not None:
        length, beams = cell.task.generation.max_length, cell.task.generation.beams
        seconds += FORWARD * _seconds(cell, hardware, flops, rows * beams * length, batches * length)
    return seconds


def _tokens_per_row(cell: Cell) -> float:
    """Tokens that are multiplied for a row. Half of a text is padding, say; an image has none."""
    target_length = cell.recipe.max_target_length if cell.task.facts.target_tokens else 0
    return (longest_source(cell) + target_length) / (1 if cell.task.facts.input == "image" else 2)


def _seconds(cell: Cell, hardware: Hardware, flops: float, tokens: float, passes: int) -> float:
    """Seconds in which one process trains on so many tokens in so many passes through the model."""
    seconds = 6 * _multiplied(cell) * tokens / flops
    if hardware.gpu:
        seconds += passes * LAUNCH_SECONDS * (sum(cell.backbone.config.get(k, 0) for k in LAYER_KEYS) or DEFAULT_LAYERS)
    return seconds


def _multiplied(cell: Cell) -> int:
    """Parameters that a token is multiplied with: embeddings are looked up, but where logits come from them too."""
    backbone = cell.backbone
    if backbone.parameters is None:
        return DEFAULT_PARAMETERS
    config = backbone.config
    looked_up = 0 if cell.task.facts.target_tokens else config.get("vocab_size", 0) * config.get("hidden_size", 0)
    return max(backbone.parameters - looked_up, backbone.parameters // 4)
