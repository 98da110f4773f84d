"""What the kind of a lab decides about its cells: the task, and what is adapted and trained of its small model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

STEPS = 12  # of a cell: ranks are pruned after step 3 and frozen at step 8


@dataclass(frozen=True)
class Made:
    """What a lab's kind of task decides: the task, and what is adapted and trained of its small model."""

    task: str
    matrices: tuple[str, ...]
    head: tuple[str, ...] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)


_DECODER = ("q_proj", "v_proj", "down_proj")
_LONGER = {"max_length": 48, "max_target_length": 24}
MODELS = {
    "classification": Made(
        "cola", ("query", "intermediate.dense", "output.dense"), ("pooler", "classifier"), {"head_dropout": 0.1}
    ),
    "summarization": Made("cnn_dailymail", ("q_proj", "fc1")),
    "question-answering": Made(
        "squad",
        ("query", "intermediate.dense", "output.dense"),
        ("pooler", "classifier", "qa_outputs"),
        {"max_length": 40, "max_steps": STEPS},
    ),
    "causal-lm": Made("gsm8k", _DECODER, recipe=_LONGER),
    "scored-choice": Made("arc_easy_encoder", ("query", "output.dense"), ("pooler", "classifier")),
    "multiple-choice": Made("arc_easy", _DECODER, recipe=_LONGER),
    "classifying-llama": Made("cola", _DECODER, ("score",)),
    "classifying-gpt2": Made("cola", ("c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"), ("score",)),
}
