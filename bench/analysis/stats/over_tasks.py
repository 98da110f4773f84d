"""The mean difference over tasks, with the interval that follows from the intervals of the tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.analysis.stats.paired import Interval


@dataclass(frozen=True)
class MeanDifference:
    """The mean over tasks, all of which weigh alike, with its 95% interval, in the unit of the differences."""

    difference: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def mean_over_tasks(intervals: Sequence[Interval | None]) -> MeanDifference:
    """The mean of one difference per task. None: both sides of that task are the same, bit for bit.

    Tasks have rows and trainings of their own, so their errors are independent. The half-width is Banerjee's (1960)
    again, the root of the sum of all t^2 variance, over the number of tasks: the sum of the squares of the tasks' own
    half-widths, which are made by that rule.
    """
    known = [interval for interval in intervals if interval is not None]
    half_widths = [(interval.high - interval.low) / 2 for interval in known]
    half_width = math.sqrt(sum(width**2 for width in half_widths)) / len(intervals)
    difference = sum(interval.difference for interval in known) / len(intervals)
    center = sum((interval.low + interval.high) / 2 for interval in known) / len(intervals)
    return MeanDifference(difference, center - half_width, center + half_width)
