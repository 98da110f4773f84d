"""Evaluate a model on every split of its task: metrics, loss, predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from bench.config.task import Task
from bench.distributed import SINGLE_PROCESS, ProcessGroup
from bench.evaluation.metrics import mean_of_rows, rouge_rows, score
from bench.evaluation.predict import as_classes, predict
from bench.inputs.datasets import Split


@dataclass
class Evaluated:
    """By split: metrics (fractions), the task's loss, predictions, and the tables' metric of each row where that is a
    mean of rows. batch_size: of the last batch; halvings: how often memory ran out."""

    batch_size: int
    halvings: int = 0
    metrics: dict[str, dict[str, float | None]] = field(default_factory=dict)
    loss: dict[str, float] = field(default_factory=dict)
    predictions: dict[str, list[Any]] = field(default_factory=dict)
    scores: dict[str, list[float]] = field(default_factory=dict)


def evaluate(
    model: Any, task: Task, splits: Mapping[str, Split], tokenizer: Any, batch_size: int, device: torch.device,
    check: Callable[[str, int], None] = lambda _split, _done: None, process_group: ProcessGroup = SINGLE_PROCESS,
) -> Evaluated:  # fmt: skip
    """All `splits` in order, each shared by the processes of `process_group`; a batch that had to be halved stays so.
    `check` (split, rows done) may raise to stop."""
    result = Evaluated(batch_size)
    for name, split in splits.items():
        found = predict(model, task, split, tokenizer, result.batch_size, device, partial(check, name), process_group)
        result.batch_size, result.halvings = found.batch_size, result.halvings + found.halvings
        result.predictions[name], result.loss[name] = found.values, found.loss
        if task.kind == "summarization":
            rows = rouge_rows(found.values, split.targets)
            result.metrics[name] = mean_of_rows(task, rows)
            result.scores[name] = [row[task.metric] for row in rows]
        elif task.kind == "text-label":
            classes = as_classes(task, found.values), as_classes(task, split.targets)
            result.metrics[name] = score(task, *classes)
        else:
            result.metrics[name] = score(task, found.values, split.targets)
    return result
