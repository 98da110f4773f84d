"""Predictions of a split: length-sorted batches, larger than training's, in inference mode, in the rows' order."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bench.models.batch import Collator
from bench.prepare.data import Split
from bench.spec.task import Task


@dataclass(frozen=True)
class Predictions:
    """`values`: a class, a number or a text a row. `batch_size`: what it ended with (halved where memory ran out)."""

    values: list[Any]
    batch_size: int


def predict(model: Any, task: Task, split: Split, tokenizer: Any, batch_size: int, device: torch.device) -> Predictions:
    """Every row's prediction. Out of memory halves the batch; a single row that doesn't fit raises."""
    collate = Collator(split, task.kind, tokenizer.pad_token_id, device)
    order = sorted(range(len(split)), key=lambda i: -len(split.input_ids[i]))
    function = _generate if task.generates else _classify
    values: list[Any] = [None] * len(split)
    done = 0
    was_training = model.training
    model.eval()
    try:
        while done < len(order):
            rows = order[done : done + batch_size]
            try:
                with torch.inference_mode():
                    found = function(model, task, collate(rows).inputs, tokenizer)
            except torch.OutOfMemoryError:
                if batch_size == 1:
                    raise
                batch_size = max(1, batch_size // 2)
                gc.collect()
                if device.type == "cuda":
                    torch.cuda.empty_cache()
                continue
            for row, value in zip(rows, found, strict=True):
                values[row] = value
            done += len(rows)
    finally:
        model.train(was_training)
    return Predictions(values, batch_size)


def as_classes(task: Task, texts: Sequence[str]) -> list[int]:
    """Generated label words as class indices; -1 for what is no label."""
    index: Callable[[str], int] = {label: i for i, label in enumerate(task.labels)}.get  # type: ignore[assignment]
    return [-1 if (i := index(text.strip())) is None else i for text in texts]


def _classify(model: Any, task: Task, inputs: dict[str, torch.Tensor], tokenizer: Any) -> list[Any]:  # noqa: ARG001
    logits = model(**inputs).logits.float()
    return (logits.squeeze(-1) if task.kind == "regression" else logits.argmax(-1)).tolist()  # type: ignore[no-any-return]


def _generate(model: Any, task: Task, inputs: dict[str, torch.Tensor], tokenizer: Any) -> list[Any]:
    generation = task.generation
    assert generation is not None  # the spec demands it of tasks that generate
    ids = model.generate(
        **inputs,
        num_beams=generation.beams,
        max_length=generation.max_length,
        min_length=generation.min_length,
        length_penalty=generation.length_penalty,
        no_repeat_ngram_size=generation.no_repeat_ngram,
        early_stopping=generation.beams > 1,
        do_sample=False,
    )
    return [text.strip() for text in tokenizer.batch_decode(ids, skip_special_tokens=True)]
