"""The range of a score, and which end of it is better."""

from __future__ import annotations

import math
from dataclasses import dataclass

ROUNDING = 1e-9


@dataclass(frozen=True)
class ScoreRange:
    """The ends that a score cannot pass; infinite where it has none. Lower is better if `best` is below `worst`."""

    worst: float
    best: float

    def __post_init__(self) -> None:
        if math.isnan(self.worst) or math.isnan(self.best) or self.worst == self.best:
            raise ValueError(f"expected two different ends of a score's range, found {self.worst} and {self.best}")

    @property
    def lower_is_better(self) -> bool:
        return self.best < self.worst

    @property
    def turned(self) -> ScoreRange:
        """The same range with its other end as the best."""
        return ScoreRange(worst=self.best, best=self.worst)

    def is_better(self, score: float, other: float) -> bool:
        """Whether `score` is strictly better than `other`."""
        return score < other if self.lower_is_better else score > other

    def place(self, score: float) -> float:
        """The score, moved to an end of the range that it passes by rounding alone, as a correlation may.

        Raises ValueError for NaN and for a score outside of the range.
        """
        low, high = sorted((self.worst, self.best))
        if not low - ROUNDING <= score <= high + ROUNDING:
            raise ValueError(f"expected a score from {low} to {high}, found {score}")
        return min(max(score, low), high)


SHARE = ScoreRange(worst=0.0, best=1.0)
CORRELATION = ScoreRange(worst=-1.0, best=1.0)
LOSS = ScoreRange(worst=math.inf, best=0.0)  # a cross-entropy or squared error
PERPLEXITY = ScoreRange(worst=math.inf, best=1.0)
UNBOUNDED = ScoreRange(worst=-math.inf, best=math.inf)
