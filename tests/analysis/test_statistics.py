"""Tests and summaries against values computed by hand, and against scipy, statsmodels and published code."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from bench.analysis.stats.examples import Spread, spread_of_resamples, spread_of_share
from bench.analysis.stats.limits import in_two_groups
from bench.analysis.stats.overall import iqm, probability_of_improvement, summarize
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


SEED_DIFFERENCES = [0.011, 0.024, 0.003, 0.017, 0.029]


def test_the_interval_of_seeds_that_all_examples_agree_on_is_the_paired_t_test() -> None:
    interval = paired_interval(SEED_DIFFERENCES, Spread(total=1e-30, single=1e-30, freedom=100))
    expected = stats.ttest_1samp(SEED_DIFFERENCES, 0.0)
    assert interval is not None
    low, high = expected.confidence_interval(0.95)
    assert (interval.low, interval.high, interval.p) == pytest.approx((low, high, expected.pvalue), rel=1e-9)


def test_the_interval_of_one_seed_is_that_of_its_examples() -> None:
    """For a metric that is a mean over rows with equal influences, the paired t-test of the rows, up to the draws."""
    rows = np.array([0.3, -0.1] * 10)
    weights = np.random.default_rng(0).multinomial(20, np.full(20, 0.05), size=20_000) / 20
    interval = paired_interval([0.1], spread_of_resamples((weights @ rows)[:, None], -rows[:, None]))
    assert interval is not None
    expected = stats.t.interval(0.95, 19, 0.1, rows.std() / 20**0.5)
    assert (interval.low, interval.high) == pytest.approx(expected, abs=0.001)
    assert interval.example_freedom == pytest.approx(19)


def test_the_interval_of_a_share_is_that_of_bonett_and_price() -> None:
    """20 examples: 4 right in the first alone, 9 in the second alone; one more of either kind is added."""
    rows = np.array([1.0] * 9 + [-1.0] * 4 + [0.0] * 7)
    interval = paired_interval([0.25], spread_of_share(rows[:, None]))
    center, error = 5 / 22, ((15 / 22 - (5 / 22) ** 2) / 22) ** 0.5
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx(stats.t.interval(0.95, 21, center, error))
    assert interval.p == pytest.approx(2 * stats.t.sf(center / error, 21))


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("difference", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("examples", [1, 10, 200])
def test_a_share_has_an_interval_with_a_width_where_nothing_varies(
    seeds: int, difference: float, examples: int
) -> None:
    interval = paired_interval([difference] * seeds, spread_of_share(np.full((examples, seeds), difference)))
    assert interval is not None
    assert -1 <= interval.low <= difference <= interval.high <= 1
    assert interval.high - interval.low > 2 / (examples + 2)
    assert interval.p > 0
    assert interval.excludes_zero == (difference != 0 and examples > 1)


def test_a_p_is_never_zero() -> None:
    thousands = np.ones(5000, dtype=bool)
    assert mcnemar(thousands, ~thousands) > 0
    interval = paired_interval([1.0] * 3, spread_of_share(np.ones((5000, 3))))
    assert interval is not None
    assert interval.p > 0


def test_the_p_of_an_interval_that_ends_at_zero_is_its_level() -> None:
    spread = Spread(total=2e-4, single=4e-4, freedom=12.5)
    interval = paired_interval([0.01, -0.02, 0.03], spread)
    assert interval is not None
    half = (interval.high - interval.low) / 2
    shifted = paired_interval([x - interval.difference + half for x in (0.01, -0.02, 0.03)], spread)
    assert shifted is not None
    assert shifted.low == pytest.approx(0.0, abs=1e-12)
    assert shifted.p == pytest.approx(0.05, rel=1e-6)


def test_without_a_spread_there_is_no_interval() -> None:
    assert paired_interval([0.1, 0.2], None) is None
    assert paired_interval([], None) is None
    resampled = np.random.default_rng(0).normal(size=(50, 1))
    alike, one, two = (np.zeros((30, 1)) for _ in range(3))
    one[0], two[:2] = 0.1, 0.1
    assert spread_of_resamples(resampled, alike) is None
    assert spread_of_resamples(resampled, alike + 0.3) is None  # as where each row differs by the same
    assert spread_of_resamples(resampled, one) is None
    assert spread_of_resamples(resampled, two) is not None


@pytest.mark.parametrize(
    ("scores", "groups"),
    [
        ([0.91, 0.90, 0.52], True),
        ([0.5, 0.91, 0.51, 0.9], True),
        ([0.91, 0.90, 0.88], False),
        ([0.80, 0.801, 0.75], False),
        ([0.9, 0.7, 0.5], False),
        ([0.9, 0.5], False),
        ([0.8] * 3, False),
    ],
)
def test_seeds_in_two_groups_are_noticed(scores: list[float], groups: bool) -> None:
    assert in_two_groups(scores, 500) == groups
    assert not in_two_groups(scores, 20)  # of so few examples, a share varies as much by chance


@pytest.mark.parametrize("runs", [4, 8, 12])
def test_the_interquartile_mean_is_scipy_s_trimmed_mean_within_a_task(runs: int) -> None:
    """Agarwal et al. use scipy.stats.trim_mean(scores, proportiontocut=0.25)."""
    scores = np.random.default_rng(runs).normal(80, 5, (5, runs))
    assert iqm(list(scores)) == pytest.approx(stats.trim_mean(scores, proportiontocut=0.25, axis=1).mean())


def test_a_quarter_of_the_runs_is_cut_also_where_that_is_a_part_of_a_run() -> None:
    """Of two runs half of each is left; of three, 1/12, 1/3 and 1/12; of five, 0.15, 0.2 and 0.15 in the middle."""
    by_hand = {
        (1.0, 5.0): 3.0,
        (0.0, 3.0, 9.0): (0 + 4 * 3 + 9) / 6,
        (0.0, 1.0, 2.0, 5.0, 90.0): 0.3 * 1 + 0.4 * 2 + 0.3 * 5,
        (7.0,): 7.0,
    }
    assert [float(iqm([np.array(runs)])) for runs in by_hand] == pytest.approx(list(by_hand.values()))


def test_methods_that_are_equal_on_every_task_have_equal_interquartile_means() -> None:
    """However many runs each has of which task, and whichever runs are missing."""
    tasks = [60.0, 70.0, 95.0]
    means = {
        float(iqm([np.full(number, level) for number, level in zip(numbers, tasks, strict=True)]))
        for numbers in itertools.product((1, 2, 3, 5), repeat=3)
    }
    assert max(means) - min(means) < 1e-12
    doubled = [np.array([60.0, 64.0]), np.array([60.0, 60.0, 64.0, 64.0])]
    assert iqm(doubled[:1]) == iqm(doubled[1:])


def test_no_interval_below_the_runs_at_which_it_holds_and_none_without_a_width() -> None:
    generator = np.random.default_rng(0)
    for runs in (1, 2, 3, 4, 5):
        ours, theirs = ([generator.normal(level, 1, runs) for level in (60, 80)] for _ in range(2))
        summary = summarize(ours, theirs)
        assert (summary.iqm_interval is not None) == (runs >= 4)
        assert (summary.improvement_interval is not None) == (runs >= 2)
    uneven = summarize([generator.normal(60, 1, 3), generator.normal(80, 1, 9)], theirs)
    assert uneven.iqm_interval is None
    ties = summarize([np.full(5, 0.7), np.full(5, 70.1)], [np.full(5, 0.7), np.full(5, 70.1)])
    assert ties.iqm_interval is None
    assert ties.improvement == 0.5


def test_the_interval_of_a_method_that_always_wins_is_clopper_and_pearson_s() -> None:
    """15 of 15 wins: from 0.025^(1/15) to 1."""
    wins = summarize([np.arange(5) + 10.0] * 3, [np.arange(5) + 0.0] * 3)
    assert wins.improvement_interval == pytest.approx((0.025 ** (1 / 15), 1))
    losses = summarize([np.arange(5) + 0.0] * 3, [np.arange(5) + 10.0] * 3)
    assert losses.improvement_interval == pytest.approx((0, 1 - 0.025 ** (1 / 15)))


def test_the_probability_of_improvement_is_that_of_agarwal_et_al() -> None:
    """Their code: Mann-Whitney's U over the product of the runs, mean over tasks; ties are in this data."""
    generator = np.random.default_rng(5)
    first, second = generator.integers(70, 80, (5, 4)).astype(float), generator.integers(68, 80, (7, 4)).astype(float)
    tasks = [
        stats.mannwhitneyu(first[:, task], second[:, task], alternative="greater").statistic / (5 * 7)
        for task in range(4)
    ]
    assert probability_of_improvement(list(first.T), list(second.T)) == pytest.approx(np.mean(tasks))
