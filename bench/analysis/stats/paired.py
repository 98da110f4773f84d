"""Intervals and tests of a paired difference over seeds and examples. Every random draw has a fixed seed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LEVEL = 0.95
POWER = 0.80
EXACT_UP_TO = 14  # seeds: 2^14 sign patterns are enumerated, more are drawn
DRAWS = 20_000
SEED = 20230310
NOTHING = 1e-20  # a variance that is rounding alone
LEAST = math.log(1e-100)  # of the smallest p that is told


@dataclass(frozen=True)
class Interval:
    """A difference with its 95% interval and two-sided p, in the data's unit.

    by_seeds, by_examples: the parts of the variance of the difference; freedom: degrees of freedom of the first.
    """

    difference: float
    by_seeds: float
    by_examples: float
    freedom: int
    low: float
    high: float
    p: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def paired_interval(differences: Sequence[float], resampled: Floats | None = None) -> Interval | None:
    """The interval of the mean of paired differences, one a seed; None where nothing tells the spread.

    resampled: draws x seeds, the same differences on bootstrap resamples of the examples, one resample for all seeds.

    Seeds and examples are crossed random factors, so the variance has a part of seeds, one of examples and one of both:
    seeds/S + examples/N + both/(SN). The first and last come from the spread over seeds, the second from the bootstrap
    over examples after what the resamples of single seeds share is taken out (Cameron, Gelbach and Miller 2011 for two
    crossed clusters). The half-width is Banerjee's (1960), the root of t^2 seeds + z^2 examples, which covers at least
    95%: percentiles cover 74% (3 seeds) to 85% (5 seeds) where seeds dominate, and Student's t with Satterthwaite's
    degrees of freedom is too sure wherever two or three seeds agree by luck. One seed: the interval holds for these
    trained models.
    """
    numbers = np.asarray(differences, dtype=float)
    seeds = len(numbers)
    by_seeds = float(numbers.var(ddof=1)) / seeds if seeds > 1 else 0.0
    by_examples = 0.0
    if resampled is not None and seeds:
        floor = float(resampled.mean(axis=1).var())
        both = (float(resampled.var(axis=0).mean()) - floor) / (seeds - 1) if seeds > 1 else 0.0
        by_examples = max(0.0, floor - both, floor - by_seeds)
    if not seeds or (resampled is None and by_seeds < NOTHING):
        return None
    mean, freedom = float(numbers.mean()), seeds - 1
    if by_seeds + by_examples < NOTHING:  # the same predictions
        return Interval(mean, 0.0, 0.0, freedom, mean, mean, 1.0 if abs(mean) < 1e-12 else 0.0)
    half = float(_half_width(1 - LEVEL, by_seeds, by_examples, freedom))
    p = _probability(abs(mean), by_seeds, by_examples, freedom)
    return Interval(mean, by_seeds, by_examples, freedom, mean - half, mean + half, p)


def _half_width(p: float, by_seeds: float | Floats, by_examples: float, freedom: int) -> Floats:
    """Banerjee's half-width of a two-sided interval that misses with probability p at the most."""
    from scipy.special import ndtri, stdtrit

    t = stdtrit(freedom, p / 2) if freedom else 0.0
    return np.asarray(np.sqrt(t**2 * np.asarray(by_seeds) + ndtri(p / 2) ** 2 * by_examples))


def _probability(size: float, by_seeds: float, by_examples: float, freedom: int) -> float:
    """The p whose interval around a difference of this size ends at zero."""
    from scipy.optimize import brentq

    def beyond(log_p: float) -> float:
        return float(_half_width(math.exp(log_p), by_seeds, by_examples, freedom)) - size

    return 1.0 if beyond(0.0) >= 0 else math.exp(brentq(beyond, LEAST, 0.0)) if beyond(LEAST) > 0 else math.exp(LEAST)


def detectable(interval: Interval) -> float | None:
    """The smallest true difference that the interval's two-sided 5% test finds with 80% power; None without a spread.

    Its unit is the data's; the parts of the variance are taken for the true ones.
    """
    from scipy.optimize import brentq
    from scipy.special import gammaincinv, ndtr

    error, freedom = math.sqrt(interval.by_seeds + interval.by_examples), interval.freedom
    if not error:
        return None
    share = (np.arange(500) + 0.5) / 500
    drawn = 2 * gammaincinv(freedom / 2, share) / freedom if freedom else np.ones(1)  # estimated / true variance
    bounds = _half_width(1 - LEVEL, interval.by_seeds * drawn, interval.by_examples, freedom) / error

    def lacking(shift: float) -> float:
        return float((ndtr(shift - bounds) + ndtr(-shift - bounds)).mean()) - POWER

    return error * float(brentq(lacking, 0.0, float(bounds.max()) + 5))


def sign_flip(differences: Sequence[float]) -> float:
    """Two-sided p of the mean under random signs of the paired differences: exact up to 14 seeds, else drawn."""
    numbers = np.asarray(differences, dtype=float)
    if not len(numbers):
        return 1.0
    if len(numbers) <= EXACT_UP_TO:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=len(numbers))))
    else:
        signs = np.random.default_rng(SEED).choice([1.0, -1.0], size=(DRAWS, len(numbers)))
        signs[0] = 1.0
    means = np.abs(signs @ numbers)
    return float((means >= means[0] * (1 - 1e-12) - 1e-15).mean())


def sign_flip_floor(seeds: int) -> float:
    """The smallest p that `sign_flip` can give: 0.0625 for 5 seeds."""
    return min(1.0, 2.0 ** (1 - seeds))


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Exact two-sided p that two classifiers are right equally often, from the examples where one of them is."""
    from statsmodels.stats.contingency_tables import mcnemar as exact

    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    if only_first + only_second == 0:
        return 1.0
    return min(1.0, float(exact([[0, only_first], [only_second, 0]], exact=True).pvalue))


def holm(probabilities: Sequence[float | None]) -> list[float | None]:
    """Holm's (1979) adjusted p of one family; None stays None and is not counted."""
    adjusted = list(probabilities)
    known = sorted((p, place) for place, p in enumerate(probabilities) if p is not None)
    largest = 0.0
    for rank, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        adjusted[place] = largest
    return adjusted
