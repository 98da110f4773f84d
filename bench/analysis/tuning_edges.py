"""Which chosen values stand at an edge of what was tried."""

from __future__ import annotations

from typing import Literal

from bench.analysis.tuning_results import GroupTuning
from bench.analysis.tuning_wording import number_of

Edge = tuple[Literal["lowest", "highest"], int]  # and how many different values were tried


def edges(group: GroupTuning) -> dict[str, Edge]:
    """By tuned key, whether its chosen value is the lowest or the highest number that was tried.

    Keys whose values are no numbers, or of which one value alone was tried, are left out, as is every key of a group
    without a choice or without points of its own.
    """
    found: dict[str, Edge] = {}
    for key, value in (group.choice.values if group.choice else {}).items():
        tried = {number_of(point.values.get(key)) for point in group.points}
        numbers = {number for number in tried if number is not None}
        if len(numbers) < 2 or len(numbers) < len(tried) or number_of(value) is None:
            continue
        if number_of(value) == min(numbers):
            found[key] = ("lowest", len(numbers))
        elif number_of(value) == max(numbers):
            found[key] = ("highest", len(numbers))
    return found
