"""The band around the median of the best of k trials, as ranks: it depends on the number of trials, on no score.

With F the distribution function of the score of one trial (higher is better), the best of k trials has the distribution
function F^k, so its median is the quantile of F at 0.5^(1/k). A band around F therefore bounds the median for all k at
once (Lourie, Cho and He 2023, "Show Your Work with Confidence", arXiv 2311.09480). As in that paper and its library
`opda`, the band is made of highest-density intervals around F at each of the ordered scores.

How wide the intervals must be is computed here: exactly, and for the n quantiles that are used. `opda` widens them
until they hold on all of F, and finds by simulation when they do. The result is a wider band, by up to several ranks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from opda.utils import beta_highest_density_interval
from scipy.stats import binom

Floats = NDArray[np.float64]
Ranks = NDArray[np.int64]
BISECTIONS = 12  # the level is then within 0.0003 above the lowest
MOST_EXACT = 256  # trials
PRECISION = 1e-6  # of the ends of intervals; the coverage is that of the ranks that come out, whatever this is


@dataclass(frozen=True)
class BandRanks:
    """Which order statistic of n scores, from worst (1) to best (n), each end of the band is; item k - 1 is that of k.

    0 stands for the worst end of the range, n + 1 for the best: nothing is known there.
    """

    estimate: tuple[int, ...]
    worse: tuple[int, ...]
    better: tuple[int, ...]

    @property
    def reach(self) -> int:
        """For how many k, from 1 on, the better end is a score."""
        return sum(rank <= len(self.better) for rank in self.better)


@cache
def band_ranks(trials: int, confidence: float) -> BandRanks:
    """The band of one curve as ranks, which depend on no score: one computation serves all curves of n trials.

    Ranks are whole numbers, so for few trials the band holds more often than with this confidence.
    """
    if trials == 1:  # one draw bounds no median, and its order statistic has no highest-density interval
        return BandRanks((1,), (0,), (2,))
    worse, better = _ends(trials, _level(trials, confidence))
    estimate = tuple(_estimate_rank(trials, k) for k in range(1, trials + 1))
    return BandRanks(estimate, tuple(worse.tolist()), tuple(better.tolist()))


def _level(trials: int, confidence: float) -> float:
    """Of the intervals of the order statistics: the lowest level at which the band holds often enough for all k.

    Beyond `MOST_EXACT` trials, for which that takes too long, it is the level at which the intervals hold together by
    Bonferroni's inequality. It is higher, so the band is wider.
    """
    if trials > MOST_EXACT:
        return 1 - (1 - confidence) / trials
    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):  # intervals of a higher level contain those of a lower one, so coverage only rises
        level = (low + high) / 2
        low, high = (low, level) if _coverage(*_ends(trials, level)) >= confidence else (level, high)
    return high


def _medians(trials: int) -> Floats:
    """Where F is at the median of the best of k, for k = 1..n: ascending."""
    return np.asarray(0.5 ** (1 / np.arange(1, trials + 1)))


def _ends(trials: int, level: float) -> tuple[Ranks, Ranks]:
    """Worse and better end of the band by k, as ranks, from intervals of this level for the order statistics of F.

    F is at least the lower end of the i'th interval from the i'th score on, and at most its upper end before that.
    """
    ranks = np.arange(1, trials + 1)
    lower, upper = beta_highest_density_interval(ranks, trials + 1 - ranks, level, atol=PRECISION)
    medians = _medians(trials)
    better = 1 + np.searchsorted(lower, medians)  # the first score at which F is surely as high as the median
    worse = np.searchsorted(upper, medians)  # the last score before which F is surely below it
    return worse, better


def _coverage(worse: Ranks, better: Ranks) -> float:
    """How often a band of these ranks holds for all k, if scores do not tie.

    The median of the best of k lies between the scores of rank w and b if and only if at least w and fewer than b of
    the n scores are below it. How many are below the medians of k = 1, 2, ... is a Markov chain: of those above one
    median, each is below the next one with the same probability.
    """
    trials = len(worse)
    below, median = np.zeros(1, int), 0.0  # how many scores may be below the last median, and where that is
    probability = np.ones(1)  # of each of these numbers, while the band held so far
    for lowest, highest, next_median in zip(worse, np.minimum(better - 1, trials), _medians(trials), strict=True):
        next_below = np.arange(lowest, highest + 1)
        share = (next_median - median) / (1 - median)
        probability = probability @ binom.pmf(next_below - below[:, None], trials - below[:, None], share)
        below, median = next_below, next_median
    return float(probability.sum())


def _estimate_rank(trials: int, k: int) -> int:
    """The smallest rank r with (r / n)^k >= 1/2.

    For one trial, n / 2 may be whole: `opda`, which sums 1/n, is then one rank too high for n = 12, 20, 40 and others.
    For more trials, no rank makes both sides equal, since the root of 1/2 is irrational.
    """
    return (trials + 1) // 2 if k == 1 else math.ceil(trials * 0.5 ** (1 / k))
