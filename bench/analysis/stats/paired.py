"""Intervals and tests for a paired difference over seeds and examples. Every random draw has a fixed seed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import gammaincinv, ndtr, ndtri, stdtrit
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests

from bench.analysis.stats.examples import Spread

Floats = NDArray[np.float64]
LEVEL = 0.95
POWER = 0.80
MAX_EXACT_SEEDS = 14  # up to here all 2^n sign patterns are enumerated; beyond, patterns are drawn
DRAWS = 20_000
SEED = 20230310
ZERO_VARIANCE = 1e-20  # a smaller variance comes from rounding
LOG_SMALLEST_P = math.log(1e-100)  # no smaller p is looked for


@dataclass(frozen=True)
class Interval:
    """A difference with its 95% interval and two-sided p, in the unit of the data.

    Attributes:
        seed_variance, example_variance: the parts of the variance of `difference` that come from seeds and from
            examples, in the squared unit of the data.
        degrees_of_freedom: of `seed_variance`: the number of seeds less one.
        example_freedom: the degrees of freedom of `example_variance`.
    """

    difference: float
    seed_variance: float
    example_variance: float
    degrees_of_freedom: int
    low: float
    high: float
    p: float
    example_freedom: float = math.inf

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def paired_interval(differences: Sequence[float], examples: Spread | None) -> Interval | None:
    """The 95% interval of the mean of paired differences; None where nothing shows what the examples add.

    Args:
        differences: one difference per seed.
        examples: how the differences vary with the examples; None if that is not known.

    Seeds and examples are crossed random factors, so the variance of the mean has three parts, for S seeds and N
    examples: seeds/S + examples/N + interaction/(S N). The first and the last come from the spread over seeds. The
    second comes from the spread over examples, less the interaction that the examples of single seeds contain
    (Cameron, Gelbach and Miller 2011, for two crossed clusters).

    The half-width is that of Banerjee (1960), sqrt(t^2 seeds + t^2 examples), each t with its own degrees of freedom,
    which covers at least 95% where both parts are normal. Alternatives fall short: bootstrap percentiles cover 74% (3
    seeds) to 85% (5 seeds) where seeds dominate, and Student's t with Satterthwaite's degrees of freedom is too narrow
    wherever two or three seeds agree by luck. The table of measured coverage is in docs/results.md.

    With one seed, the interval holds for the two trained models, not for the methods.
    """
    values = np.asarray(differences, dtype=float)
    seeds = len(values)
    if not seeds or examples is None:
        return None
    seed_variance = float(values.var(ddof=1)) / seeds if seeds > 1 else 0.0
    # The excess of a single seed's variance over that of the mean is the interaction, since it averages out over seeds
    # and the examples' own part does not.
    interaction = (examples.single - examples.total) / (seeds - 1) if seeds > 1 else 0.0
    # The variance over seeds contains the interaction, so a larger estimate of it is noise and is not subtracted.
    example_variance = max(0.0, examples.total - interaction, examples.total - seed_variance)
    if seed_variance + example_variance < ZERO_VARIANCE:
        return None
    variances = Variances(seed_variance, example_variance, seeds - 1, examples.freedom)
    mean = float(values.mean())
    center = mean if examples.center is None else examples.center
    half_width = float(variances.half_width(1 - LEVEL))
    low, high = max(center - half_width, -examples.limit), min(center + half_width, examples.limit)
    p = variances.p_value(abs(center))
    return Interval(mean, seed_variance, example_variance, seeds - 1, low, high, p, examples.freedom)


@dataclass(frozen=True)
class Variances:
    """The two parts of a variance, each with its degrees of freedom (of seeds: 0 for a single one)."""

    seeds: float | Floats
    examples: float
    seed_freedom: int
    example_freedom: float

    def half_width(self, p: float) -> Floats:
        """Banerjee's half-width of a two-sided interval that misses the truth with probability p at most."""
        t_seeds = stdtrit(self.seed_freedom, p / 2) if self.seed_freedom else 0.0
        # scipy's t has no quantile at infinitely many degrees of freedom, where it is the normal one.
        t_examples = ndtri(p / 2) if math.isinf(self.example_freedom) else stdtrit(self.example_freedom, p / 2)
        return np.asarray(np.sqrt(t_seeds**2 * np.asarray(self.seeds) + t_examples**2 * self.examples))

    def p_value(self, size: float) -> float:
        """The p at which the interval around a difference of this size ends at zero."""

        def excess(log_p: float) -> float:
            return float(self.half_width(math.exp(log_p))) - size

        # The half-width falls from infinity at p = 0 to zero at p = 1, so there is one root. It is searched in log p,
        # since p spans a hundred orders of magnitude.
        if excess(0.0) >= 0:
            return 1.0
        if excess(LOG_SMALLEST_P) <= 0:
            return math.exp(LOG_SMALLEST_P)
        return math.exp(brentq(excess, LOG_SMALLEST_P, 0.0))


def detectable(interval: Interval) -> float | None:
    """The smallest true difference that the interval's two-sided 5% test finds with 80% power.

    It is in the unit of the data and takes the estimated variances for the true ones. Returns None without a spread.
    `statsmodels.stats.power` has the case of seeds alone, which a test compares; it has none with two variances.
    """
    error, freedom = math.sqrt(interval.seed_variance + interval.example_variance), interval.degrees_of_freedom
    if not error:
        return None
    # The variance estimated from seeds is itself random: chi-square / freedom, here at 500 equally likely quantiles.
    quantiles = (np.arange(500) + 0.5) / 500
    variance_ratio = 2 * gammaincinv(freedom / 2, quantiles) / freedom if freedom else np.ones(1)
    variances = Variances(
        interval.seed_variance * variance_ratio, interval.example_variance, freedom, interval.example_freedom
    )
    bounds = variances.half_width(1 - LEVEL) / error

    def excess_power(shift: float) -> float:
        return float((ndtr(shift - bounds) + ndtr(-shift - bounds)).mean()) - POWER

    # Five standard errors beyond the widest bound, the power is 1 in all but name: a safe upper end for the search.
    return error * float(brentq(excess_power, 0.0, float(bounds.max()) + 5))


def detectable_bounds(interval: Interval) -> tuple[float, float] | None:
    """The 95% interval of `detectable`, in the unit of the data; None without a spread between seeds.

    A few seeds say little about their own variance: the interval of the variance is that of chi-square, which for three
    seeds spans a factor of 146, and `detectable` grows with it. The examples' part is well known and held fixed.
    """
    freedom = interval.degrees_of_freedom
    if not freedom or not interval.seed_variance:
        return None
    tails = np.array([(1 + LEVEL) / 2, (1 - LEVEL) / 2])
    ratios = freedom / (2 * gammaincinv(freedom / 2, tails))  # freedom / quantiles of chi-square
    low, high = (detectable(replace(interval, seed_variance=interval.seed_variance * ratio)) for ratio in ratios)
    return None if low is None or high is None else (low, high)


def sign_flip(differences: Sequence[float]) -> float:
    """Two-sided p of the mean under random signs of the paired differences: exact up to 14 seeds, else drawn.

    `scipy.stats.permutation_test` agrees where the test is exact, but draws other signs beyond, so it would change
    the p of larger studies.
    """
    values = np.asarray(differences, dtype=float)
    if not len(values):
        return 1.0
    if len(values) <= MAX_EXACT_SEEDS:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=len(values))))
    else:
        signs = np.random.default_rng(SEED).choice([1.0, -1.0], size=(DRAWS, len(values)))
        signs[0] = 1.0  # the observed signs are one of the patterns, so p is never zero
    means = np.abs(signs @ values)
    return float((means >= means[0] * (1 - 1e-12) - 1e-15).mean())  # equal means may differ by rounding


def sign_flip_floor(seeds: int) -> float:
    """The smallest p that `sign_flip` can give: 0.0625 for 5 seeds."""
    return min(1.0, 2.0 ** (1 - seeds))


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Exact two-sided p of McNemar's test that two classifiers are right equally often.

    `first` and `second` say for each example whether the classifier is right. Only the examples where exactly one of
    them is right count.
    """
    # Examples that both or neither get right say nothing about the difference, so their counts may be left at 0.
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    if only_first + only_second == 0:
        return 1.0
    # Where the two counts are equal, twice the one-sided p exceeds 1; thousands on one side would round p to 0.
    p = float(statsmodels_mcnemar([[0, only_first], [only_second, 0]], exact=True).pvalue)
    return min(1.0, max(p, math.exp(LOG_SMALLEST_P)))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjusted p of one family of tests (Holm 1979), in the order given; None stays None and is not counted."""
    known = [p for p in p_values if p is not None]
    if not known:  # statsmodels would divide by the size of the family
        return list(p_values)
    adjusted = iter(multipletests(known, method="holm")[1].tolist())
    return [None if p is None else next(adjusted) for p in p_values]
