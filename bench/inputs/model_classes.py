"""The class of transformers that builds the model of a kind of task."""

from __future__ import annotations

from typing import Any

from bench.config.kinds import KINDS
from bench.config.task import Task


def auto_class(kind: str) -> Any:
    """The auto class for tasks of that kind, such as AutoModelForSequenceClassification."""
    import transformers

    return getattr(transformers, KINDS[kind].auto_class)


def built(config: Any, kind: str, **options: Any) -> Any:
    """The model of a config of transformers for tasks of that kind, without a checkpoint.

    options: `attn_implementation` and `dtype`, as transformers has them. Raises whatever transformers makes of a config
    that it can't build.
    """
    config.architectures = config.architectures or []  # transformers loops over it, also where it is None
    return auto_class(kind).from_config(config, **options)


def head_outputs(task: Task) -> int:
    """Outputs of the task's head: 1 for a number or the score of an option, 2 for spans, 0 without such a head."""
    if not task.facts.has_head:
        return 0
    if task.facts.target == "class":
        return len(task.labels)
    return 2 if task.facts.target == "span" else 1  # start and end
