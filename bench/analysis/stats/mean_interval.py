"""The 95% interval of a mean over seeds, by Student's t. It is for one method; methods are compared by their pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import stdev

from scipy.special import stdtrit

LEVEL = 0.95
MIN_SEEDS = 3  # with two, the interval is nine times as wide as the spread and hides all others in a figure


def half_width(scores: Sequence[float]) -> float | None:
    """Half of the interval's width, in the unit of the scores; None for fewer than `MIN_SEEDS`.

    >>> round(half_width([80.0, 85.0, 90.0]), 2)
    12.42
    """
    n = len(scores)
    if n < MIN_SEEDS:
        return None
    return float(stdtrit(n - 1, (1 + LEVEL) / 2)) * stdev(scores) / math.sqrt(n)
