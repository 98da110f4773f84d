"""The rows of a cell, scored while a progress bar shows how far it is and a signal may stop it."""

from __future__ import annotations

from typing import Any

import torch

from bench.config.cell import Cell
from bench.distributed import ProcessGroup
from bench.evaluation.evaluate import Evaluated, evaluate
from bench.log import progress_bar
from bench.training.holdout import Rows
from bench.training.signals import StopFlag
from bench.training.stopwatch import Stopwatch


def evaluate_rows(
    model: Any,
    cell: Cell,
    rows: Rows,
    device: torch.device,
    flag: StopFlag,
    process_group: ProcessGroup,
    stopwatch: Stopwatch,
) -> Evaluated:
    """The scores of `model` on `rows.evaluation`. Raises TransientError at a signal."""
    rows_done: dict[str, int] = {}
    total = sum(len(split) for split in rows.evaluation.values())
    with progress_bar(total, what="evaluation", unit="row", enabled=process_group.is_main) as bar:

        def check(split: str, done: int) -> None:
            flag.check(f"while {split} was evaluated")
            stopwatch.tick()
            rows_done[split] = done
            bar.update(sum(rows_done.values()) - bar.n)

        size = cell.recipe.evaluation_batch_size
        return evaluate(model, cell.task, rows.evaluation, rows.tokenizer, size, device, check, process_group)
