"""Whether a model can write what a task asks for: texts within its positions, and every label word as it is spelled.

A label that the tokenizer spells otherwise, or that does not fit, is never generated: each of its rows would be wrong,
and the score would say so of the method.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from bench.config.generation import position_fault
from bench.config.task import Task
from bench.errors import BenchError
from bench.paths import MODEL_CONFIG

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def check_generated(task: Task, model: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises BenchError where the model in the folder `model` can't write texts that long, or a label of the task."""
    if task.generation is None:
        return
    fault = position_fault(task.generation, json.loads((model / MODEL_CONFIG).read_bytes()))
    if fault:
        raise BenchError(f"task {task.name!r}: {fault} of its backbone")
    if task.kind == "text-label":
        for label in task.labels:
            fault = _label_fault(task, label, tokenizer)
            if fault:
                raise BenchError(f"task {task.name!r}: label {label!r} is never generated: {fault}")


def _label_fault(task: Task, label: str, tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Why the backbone never writes `label`; None if it can."""
    generation = task.generation
    assert generation is not None  # a text-label task has the block
    ids = tokenizer(text_target=label)["input_ids"]
    length = 1 + len(ids)  # the start token comes first, and the end token is among the ids
    spelled = str(tokenizer.decode(ids, skip_special_tokens=True)).strip()
    if spelled != label:
        return f"the backbone's tokenizer writes it as {spelled!r}"
    if len(ids) > task.recipe.max_target_length:
        return f"it has {len(ids)} tokens, above recipe.max_target_length, {task.recipe.max_target_length}"
    if length > generation.max_length:
        return f"it takes {length} tokens with the start token, above generation.max_length, {generation.max_length}"
    # The end token may not come before min_length tokens stand there.
    if generation.min_length >= length:
        return f"its text ends after {length - 1} tokens, below generation.min_length, {generation.min_length}"
    return None
