"""Tests and summaries against values computed by hand, and against scipy, statsmodels and published code."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from bench.analysis.stats.overall import iqm, probability_of_improvement
from bench.analysis.stats.paired import holm, mcnemar, paired_interval, sign_flip, sign_flip_floor


def test_mcnemar_by_hand() -> None:
    """Only the first is right on 1 example, only the second on 7: p = 2 (C(8,0) + C(8,1)) / 2^8 = 18/256."""
    first = np.array([True] * 5 + [False] * 3 + [True] * 1 + [False] * 7)
    second = np.array([True] * 5 + [False] * 3 + [False] * 1 + [True] * 7)
    assert mcnemar(first, second) == pytest.approx(18 / 256)
    assert mcnemar(second, first) == mcnemar(first, second)
    assert mcnemar(first, first) == 1.0


def test_mcnemar_with_equal_counts_is_one() -> None:
    assert mcnemar(np.array([True, False]), np.array([False, True])) == 1.0


def test_holm_by_hand() -> None:
    """0.01 x 3, then 0.03 x 2, then 0.04 x 1 but no less than the one before; an unknown p is not counted."""
    assert holm([0.01, None, 0.04, 0.03]) == pytest.approx([0.03, None, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([None]) == [None]
    assert holm([]) == []


def test_holm_agrees_with_statsmodels() -> None:
    p = np.random.default_rng(0).uniform(0, 0.2, 25)
    assert holm(list(p)) == pytest.approx(multipletests(p, method="holm")[1])


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([1.0, 2.0, 3.0], 2 / 8),  # only the two patterns with equal signs reach it
        ([1.0, -1.0, 2.0], 6 / 8),  # the sums of +-1 +-1 +-2 are 4, 2, 2, 0 and their negatives; six reach 2
        ([0.1] * 5, 2 / 32),
        ([0.0, 0.0], 1.0),
        ([], 1.0),
    ],
)
def test_sign_flips_by_hand(differences: list[float], p: float) -> None:
    assert sign_flip(differences) == p


def test_sign_flips_with_five_seeds_never_reach_significance() -> None:
    assert sign_flip_floor(5) == 0.0625
    assert sign_flip_floor(10) == pytest.approx(0.00195, abs=5e-6)
    assert sign_flip([1.0] * 10) == sign_flip_floor(10)


def test_sign_flips_of_many_seeds_are_drawn_and_repeatable() -> None:
    """20 differences of N(0.5, 1): near scipy's exact-by-sampling p, within four standard errors of both draws."""
    numbers = np.random.default_rng(3).normal(0.5, 1, 20)
    p = sign_flip(list(numbers))
    scipy_p = stats.permutation_test(
        (numbers, np.zeros(20)),
        lambda x, y, axis: (x - y).mean(axis),
        permutation_type="samples",
        n_resamples=20_000,
        vectorized=True,
        rng=np.random.default_rng(0),
    ).pvalue
    assert p == pytest.approx(scipy_p, abs=4 * (2 * scipy_p * (1 - scipy_p) / 20_000) ** 0.5)
    assert p == sign_flip(list(numbers))


def test_the_interval_over_seeds_alone_is_the_paired_t_test() -> None:
    differences = [0.011, 0.024, 0.003, 0.017, 0.029]
    interval = paired_interval(differences)
    expected = stats.ttest_1samp(differences, 0.0)
    assert interval is not None
    low, high = expected.confidence_interval(0.95)
    assert (interval.low, interval.high, interval.p) == pytest.approx((low, high, expected.pvalue), rel=1e-9)


def test_the_interval_over_examples_alone_is_the_normal_one() -> None:
    resampled = np.random.default_rng(0).normal(0.02, 0.01, (2000, 1))
    interval = paired_interval([0.02], resampled)
    assert interval is not None
    low, high = stats.norm.interval(0.95, 0.02, resampled.std())
    assert (interval.low, interval.high) == pytest.approx((low, high), rel=1e-9)
    assert interval.p == pytest.approx(2 * stats.norm.sf(0.02 / resampled.std()), rel=1e-9)


def test_the_p_of_an_interval_that_ends_at_zero_is_its_level() -> None:
    resampled = np.random.default_rng(1).normal(0, 0.02, (500, 3))
    interval = paired_interval([0.01, -0.02, 0.03], resampled)
    assert interval is not None
    half = (interval.high - interval.low) / 2
    shifted = paired_interval([x - interval.difference + half for x in (0.01, -0.02, 0.03)], resampled)
    assert shifted is not None
    assert shifted.low == pytest.approx(0.0, abs=1e-12)
    assert shifted.p == pytest.approx(0.05, rel=1e-6)


def test_without_a_spread_there_is_no_interval() -> None:
    assert paired_interval([0.1]) is None
    assert paired_interval([0.1, 0.1]) is None
    assert paired_interval([]) is None


def test_equal_predictions_give_an_interval_of_zero_width() -> None:
    interval = paired_interval([0.0, 0.0], np.zeros((100, 2)))
    assert interval is not None
    assert (interval.low, interval.high, interval.p, interval.excludes_zero) == (0.0, 0.0, 1.0, False)


@pytest.mark.parametrize("runs", [2, 3, 5, 10])
def test_the_interquartile_mean_is_that_of_agarwal_et_al(runs: int) -> None:
    """Their code: scipy.stats.trim_mean(scores, proportiontocut=0.25, axis=None) over runs x tasks."""
    scores = np.random.default_rng(runs).normal(80, 5, (runs, 5))
    assert iqm(list(scores.T)) == pytest.approx(stats.trim_mean(scores, proportiontocut=0.25, axis=None))


def test_the_probability_of_improvement_is_that_of_agarwal_et_al() -> None:
    """Their code: Mann-Whitney's U over the product of the runs, mean over tasks; ties are in this data."""
    generator = np.random.default_rng(5)
    first, second = generator.integers(70, 80, (5, 4)).astype(float), generator.integers(68, 80, (7, 4)).astype(float)
    tasks = [
        stats.mannwhitneyu(first[:, task], second[:, task], alternative="greater").statistic / (5 * 7)
        for task in range(4)
    ]
    assert probability_of_improvement(list(first.T), list(second.T)) == pytest.approx(np.mean(tasks))
