"""Predictions of a split: length-sorted batches, larger than training's, in inference mode, in the rows' order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bench.config.task import Task
from bench.distributed import SINGLE_PROCESS, ProcessGroup
from bench.evaluation.generation import generate_texts
from bench.evaluation.loss import task_loss
from bench.evaluation.memory import is_out_of_memory, release_memory
from bench.inputs.collate import Batch, Collator
from bench.inputs.datasets import Split


@dataclass(frozen=True)
class Predictions:
    """values: a class, a number or a text a row. loss: the task's, mean over rows or target tokens. batch_size: what it
    ended with, halved `halvings` times because memory ran out."""

    values: list[Any]
    loss: float
    batch_size: int
    halvings: int = 0


def predict(
    model: Any, task: Task, split: Split, tokenizer: Any, batch_size: int, device: torch.device,
    check: Callable[[int], None] = lambda _: None, process_group: ProcessGroup = SINGLE_PROCESS,
) -> Predictions:  # fmt: skip
    """Every row's prediction, the same in every process of `process_group`, which share the batches. Out of memory
    halves the batch; a single row that doesn't fit raises.

    `check` is called with the rows done before each batch, and may raise to stop.
    """
    collate = Collator(split, task.kind, tokenizer.pad_token_id, device)
    by_length = sorted(range(len(split)), key=lambda i: -len(split.input_ids[i]))
    starts = process_group.shard(range(0, len(split), batch_size))
    order = [i for start in starts for i in by_length[start : start + batch_size]]
    values: dict[int, Any] = {}
    loss, weight, halvings, done = 0.0, 0, 0, 0
    was_training = model.training
    model.eval()
    try:
        while done < len(order):
            check(done)
            rows = order[done : done + batch_size]
            found = _attempt(model, task, collate, rows, tokenizer, last=batch_size == 1)
            if found is None:
                batch_size, halvings = batch_size // 2, halvings + 1
                release_memory()
                continue
            values.update(zip(rows, found[0], strict=True))
            share = sum(len(split.label_ids[i]) for i in rows) if task.generates else len(rows)
            loss, weight = loss + found[1] * share, weight + share
            done += len(rows)
    finally:
        model.train(was_training)
    return _joined(process_group.all_gather_object(_Part(values, loss, weight, batch_size, halvings)))


@dataclass(frozen=True)
class _Part:
    """What one process predicted: a value by row, and the sum of the losses that `weight` rows or tokens have."""

    values: dict[int, Any]
    loss: float
    weight: int
    batch_size: int
    halvings: int


def _joined(parts: Sequence[_Part]) -> Predictions:
    values = {row: value for part in parts for row, value in part.values.items()}
    return Predictions(
        values=[values[row] for row in range(len(values))],
        loss=sum(part.loss for part in parts) / sum(part.weight for part in parts),
        batch_size=min(part.batch_size for part in parts),
        halvings=max(part.halvings for part in parts),
    )


def as_classes(task: Task, texts: Sequence[str]) -> list[int]:
    """Generated label words as class indices; -1 for what is no label."""
    index = {label: i for i, label in enumerate(task.labels)}
    return [index.get(text.strip(), -1) for text in texts]


def _attempt(
    model: Any, task: Task, collate: Collator, rows: Sequence[int], tokenizer: Any, *, last: bool
) -> tuple[list[Any], float] | None:
    """Predictions and mean loss of one batch; None where memory ran out."""
    function = generate_texts if task.generates else _classify
    try:
        with torch.inference_mode():
            return function(model, task, collate(rows), tokenizer)
    except (RuntimeError, MemoryError) as error:
        if last or not is_out_of_memory(error):
            raise
        return None


def _classify(model: Any, task: Task, batch: Batch, tokenizer: Any) -> tuple[list[Any], float]:  # noqa: ARG001
    loss, logits = task_loss(model, batch, task.kind)
    values = logits.squeeze(-1) if task.kind == "regression" else logits.argmax(-1)
    return values.tolist(), float(loss)
