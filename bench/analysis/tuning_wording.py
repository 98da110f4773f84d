"""How tuned values, places and counts of trials are written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from bench.analysis.results import Results
from bench.analysis.tuning_results import Group

MAX_PLACES = 8  # groups that a footnote names
SHORT = 12  # hex digits of a hash that are printed


def value_text(value: Any) -> str:
    """A value as YAML has it: 6.75e-05, true, null, text; what has parts as JSON in one line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def values_text(values: Iterable[Any]) -> str:
    return ", ".join(map(value_text, values))


def number_of(value: Any) -> float | None:
    """The value as a number; None if it is none, as true and false are."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def group_text(group: Group, results: Results) -> str:
    """'CoLA, small: LoRA'."""
    task, method, budget = group
    return f"{results.task_labels[task]}, {budget}: {results.labels[method]}"


def listed(places: Sequence[str], what: str = "groups") -> str:
    """The places, or how many they are where they are more than a reader would read."""
    return "; ".join(places) if len(places) <= MAX_PLACES else f"{len(places)} {what}"


def trials_text(number: int) -> str:
    return f"{number} trial" if number == 1 else f"{number} trials"
