"""Why a paired interval is missing, and where it must be read with care; docs/results.md has the measured coverage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum
from itertools import pairwise

FEW_EXAMPLES = 30  # fewer rows in a split
FEW_DISCORDANT = 10  # fewer examples that tell the two methods apart
MIN_SEEDS_FOR_GROUPS = 3
MIN_GAP = 0.1  # ten points between two groups of seeds
GAP_RATIO = 3  # how much wider than either group
GAP_ERRORS = 4  # in standard errors of a share of the examples, at most 0.5 / sqrt(examples)


class Missing(Enum):
    """Why a difference has no interval."""

    ROW_SCORES = "no score per row is saved, so it is not known what the examples add"
    SAME_ROWS = "the methods were scored on different rows"
    DISCORDANT = "fewer than two examples tell the methods apart, so nothing varies"


class Limit(Enum):
    """What the coverage of an interval suffers from."""

    EXAMPLES = f"fewer than {FEW_EXAMPLES} examples"
    DISCORDANT = f"fewer than {FEW_DISCORDANT} examples tell the methods apart"
    GROUPS = "the seeds of a method fall into two groups, as where some runs collapse"


def limits_met(examples: int, discordant: int, scores: Sequence[Sequence[float]]) -> tuple[Limit, ...]:
    """The limits that a comparison meets. `scores`: of each of the two methods, by seed, as levels
    (`MetricFacts.level`): fractions, or logarithms.
    """
    met = {
        Limit.EXAMPLES: examples < FEW_EXAMPLES,
        Limit.DISCORDANT: discordant < FEW_DISCORDANT,
        Limit.GROUPS: any(in_two_groups(of_method, examples) for of_method in scores),
    }
    return tuple(limit for limit, is_met in met.items() if is_met)


def in_two_groups(scores: Sequence[float], examples: int) -> bool:
    """Whether the scores of a method's seeds, as levels (`MetricFacts.level`), fall into two groups.

    The widest gap between neighboring scores is then ten points or more, three times as wide as either group, and wider
    than four standard errors of a share of so many examples, so that it is no chance of a small split.

    >>> in_two_groups([0.91, 0.90, 0.52], 500), in_two_groups([0.91, 0.90, 0.88], 500), in_two_groups([0.9, 0.5], 500)
    (True, False, False)
    """
    if len(scores) < MIN_SEEDS_FOR_GROUPS:
        return False
    ordered = sorted(scores)
    gap, above = max((high - low, index) for index, (low, high) in enumerate(pairwise(ordered), start=1))
    widest_group = max(ordered[above - 1] - ordered[0], ordered[-1] - ordered[above])
    return gap >= max(MIN_GAP, GAP_RATIO * widest_group, GAP_ERRORS * 0.5 / math.sqrt(examples))
