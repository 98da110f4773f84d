"""The class of transformers that builds the model of a kind of task."""

from __future__ import annotations

from typing import Any

from bench.config.kinds import KINDS
from bench.config.task import Task


def auto_class(kind: str) -> Any:
    """The auto class for tasks of that kind, such as AutoModelForSequenceClassification."""
    import transformers

    return getattr(transformers, KINDS[kind].auto_class)


def head_outputs(task: Task) -> int:
    """Outputs of the task's head: 1 for a regression, 0 where the model has no head of the task's own."""
    return max(1, len(task.labels)) if task.facts.has_head else 0
