"""Tuning curves: the score to expect from the best of k trials, with bands that need no model of how scores arise.

The best of k trials is a random quantity, since the points of the trials are drawn. The curve is its median.
`tuning_bands` says where the bands come from.

What is assumed: the points of a method's trials were drawn independently from one distribution, as `sampler: random`
does. Nothing is assumed of how the score depends on the point, nor of noise, nor that two methods' points are
independent of each other. Where scores tie, the bands cover at least as often as they say.

- A scrambled Sobol sequence spreads its points, which are not independent. The bands are then those of random search
  with as many trials. `benchmarks/tuning_coverage.py` measures how often they hold.
- A list of values that were all tried is no sample, and the bands then mean nothing.
- The curve is that of the score by which points were chosen, with the trials' seeds and held-out rows as they are.

n trials say little of the best of many. All of them miss the best 1 - 0.5^(1/k) of the space with probability
0.5^(n/k), so that no method finds a better end below the range's for k near n: see `TuningCurve.reach`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.analysis.stats.tuning_bands import band_ranks
from bench.config.score_ranges import ScoreRange

LEVEL = 0.95


@dataclass(frozen=True)
class TuningCurve:
    """The median score of the best of k trials, for k = 1..n; item k - 1 of each tuple belongs to k.

    Attributes:
        estimate: the median under the empirical distribution of the n scores: an order statistic of them.
        worse, better: the ends of the band, in the sense of the score: for a loss, `worse` is the higher number. An end
            of which nothing is known is that of the score's range, which may be infinite.
        reach: of so many trials at most does the band have a better end that says something; 0 if of none.
        confidence: with which the bands of all curves of the family hold together, for all k.
        family: how many curves were made together.
    """

    scale: ScoreRange
    estimate: tuple[float, ...]
    worse: tuple[float, ...]
    better: tuple[float, ...]
    reach: int
    confidence: float
    family: int

    @property
    def trials(self) -> int:
        return len(self.estimate)

    @property
    def low(self) -> tuple[float, ...]:
        """The lower numbers of the band, for drawing."""
        return self.better if self.scale.lower_is_better else self.worse

    @property
    def high(self) -> tuple[float, ...]:
        """The higher numbers of the band, for drawing."""
        return self.worse if self.scale.lower_is_better else self.better


def tuning_curves(
    scores: Mapping[str, Sequence[float | None]], scale: ScoreRange, confidence: float = LEVEL
) -> dict[str, TuningCurve]:
    """One curve per method, whose bands hold together: each at 1 - (1 - confidence) / number of methods (Bonferroni).

    All claims about pairs of these methods then hold together as well, however many pairs there are. Make the curves of
    one task and budget together: those that stand in one panel and whose pairs are named together.

    Args:
        scores: by method, the held-out score of every trial, in any order; None for a trial without one, such as a
            diverged one, which counts as the worst end of the range.
            One number per point: with several trial seeds, their mean.
        scale: the range of the score. A wrong one gives wrong bands, so it is checked.

    Raises ValueError for no method, a method without trials, a score outside of the range or NaN, or a confidence that
    is not between 0 and 1.

    >>> from bench.config.score_ranges import SHARE
    >>> curve = tuning_curves({"lora": [0.7, 0.9, None, 0.8]}, SHARE)["lora"]
    >>> curve.estimate, curve.worse, curve.better
    ((0.7, 0.8, 0.9, 0.9), (0.0, 0.0, 0.7, 0.7), (1.0, 1.0, 1.0, 1.0))
    """
    if not scores:
        raise ValueError("expected the scores of at least one method, found none")
    if not 0 < confidence < 1:
        raise ValueError(f"expected a confidence between 0 and 1, found {confidence}")
    each = 1 - (1 - confidence) / len(scores)
    return {
        method: _curve(_from_worst_to_best(method, of_method, scale), scale, each, confidence, len(scores))
        for method, of_method in scores.items()
    }


def _from_worst_to_best(method: str, scores: Sequence[float | None], scale: ScoreRange) -> list[float]:
    if not scores:
        raise ValueError(f"{method}: expected the score of at least one trial, found none")
    try:
        values = [scale.worst if score is None else scale.place(float(score)) for score in scores]
    except ValueError as error:
        raise ValueError(f"{method}: {error}") from None
    return sorted(values, reverse=scale.lower_is_better)


def _curve(
    ordered: list[float], scale: ScoreRange, confidence_of_one: float, confidence: float, family: int
) -> TuningCurve:
    ranks = band_ranks(len(ordered), confidence_of_one)
    by_rank = [scale.worst, *ordered, scale.best]
    estimate, worse, better = (
        tuple(by_rank[rank] for rank in of_end) for of_end in (ranks.estimate, ranks.worse, ranks.better)
    )
    return TuningCurve(scale, estimate, worse, better, ranks.reach, confidence, family)
