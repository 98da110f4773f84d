"""Which chosen values stand at an edge of what was tried."""

from __future__ import annotations

from bench.analysis.tuning_results import GroupTuning
from bench.tuning import edges as of_points

Edge = tuple[of_points.Edge, int]  # and how many different values were tried


def edges(group: GroupTuning) -> dict[str, Edge]:
    """By tuned key, whether its chosen value is the lowest or the highest number that was tried.

    Keys whose values are no numbers, or of which one value alone was tried, are left out, as is every key of a group
    without a choice or without points of its own.
    """
    if group.choice is None:
        return {}
    points = [point.values for point in group.points]
    found = of_points.edges(points, group.choice.values)
    return {key: (edge, len({point[key] for point in points})) for key, edge in found.items()}
