"""Tuning curves: the estimate is the median of the best of k, and the bands hold as often as they say."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from statistics import median_low

import numpy as np
import pytest
from numpy.typing import NDArray
from opda.nonparametric import EmpiricalDistribution
from scipy.stats import multinomial

from bench.analysis.stats.tuning_bands import BandRanks, band_ranks
from bench.analysis.stats.tuning_curves import TuningCurve, tuning_curves
from bench.config.metric_facts import metric_facts
from bench.config.score_ranges import CORRELATION, LOSS, SHARE, UNBOUNDED, ScoreRange

Floats = NDArray[np.float64]
Surface = Callable[[Floats, np.random.Generator], Floats]  # points in [0, 1], which draws the noise -> scores
TRIES = 1000
THREE_ERRORS = 3 * (0.95 * 0.05 / TRIES) ** 0.5


def curve_of(scores: list[float | None], scale: ScoreRange = SHARE, confidence: float = 0.95) -> TuningCurve:
    return tuning_curves({"lora": scores}, scale, confidence)["lora"]


@pytest.mark.parametrize("scores", [[0.3, 0.8], [0.1, 0.7, 0.4], [0.2, 0.9, 0.9, 0.5], [0.6, 0.6, 0.1, 0.6, 0.3]])
def test_the_estimate_is_the_median_over_all_ways_to_draw_k_of_the_scores(scores: list[float]) -> None:
    enumerated = [
        median_low(max(drawn) for drawn in itertools.product(scores, repeat=k)) for k in range(1, len(scores) + 1)
    ]
    assert list(curve_of(scores).estimate) == enumerated
    assert list(curve_of([1 - score for score in scores], LOSS).estimate) == [1 - score for score in enumerated]


def test_the_estimate_is_that_of_opda() -> None:
    """Except where opda's sum of 1/n exceeds a half by rounding, as for k = 1 of 12: the median is then exact here."""
    for trials in (5, 12, 16):
        scores = np.random.default_rng(trials).random(trials)
        theirs = EmpiricalDistribution(scores).quantile_tuning_curve(np.arange(1, trials + 1))
        ours = np.array(curve_of(scores.tolist()).estimate)
        assert set(np.flatnonzero(ours != theirs)) <= {0}
        assert ours[0] == np.sort(scores)[(trials - 1) // 2]


def exact_coverage(ranks: BandRanks) -> float:
    """How often the band of n uniform scores holds, summed over all ways in which they fall between the medians."""
    trials = len(ranks.estimate)
    medians = 0.5 ** (1 / np.arange(1, trials + 1))
    cells = np.diff(np.concatenate([[0.0], medians, [1.0]]))
    dividers = itertools.combinations(range(trials + len(cells) - 1), len(cells) - 1)
    counts = np.array([np.diff([-1, *places, trials + len(cells) - 1]) - 1 for places in dividers])
    below = counts.cumsum(axis=1)[:, :-1]  # of the scores, how many are below the median of k = 1..n
    holds = ((below >= ranks.worse) & (below < np.array(ranks.better))).all(axis=1)
    return float(multinomial.pmf(counts[holds], trials, cells).sum())


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.975])
@pytest.mark.parametrize("trials", [2, 3, 4, 5, 6])
def test_the_band_holds_at_least_as_often_as_it_says(trials: int, confidence: float) -> None:
    """Exactly, for scores without ties: any continuous distribution has the same coverage as the uniform one."""
    assert confidence <= exact_coverage(band_ranks(trials, confidence)) <= 1 + 1e-12


@pytest.mark.parametrize(("trials", "highest"), [(16, 0.965), (32, 0.96), (64, 0.96), (300, 1.0)])
def test_with_many_trials_the_band_holds_about_as_often_as_it_says(trials: int, highest: float) -> None:
    """Beyond 256 trials it is wider than it need be, since an exact one takes too long."""
    ranks, medians = band_ranks(trials, 0.95), 0.5 ** (1 / np.arange(1, trials + 1))
    scores = np.sort(np.random.default_rng(0).random((10_000, trials)), axis=1)
    padded = np.pad(scores, ((0, 0), (1, 1)), constant_values=(0, 1))
    rate = ((padded[:, ranks.worse] <= medians) & (medians <= padded[:, ranks.better])).all(axis=1).mean()
    assert 0.945 <= rate <= highest


def test_the_most_trials_that_a_study_may_ask_for_have_a_curve() -> None:
    curve = curve_of(np.linspace(0, 1, 10_000).tolist())
    assert curve.estimate[0] == pytest.approx(0.5, abs=1e-3)
    assert 0.47 < curve.low[0] < curve.high[0] < 0.53
    assert 500 < curve.reach < 1700


def test_the_band_is_within_that_of_opda() -> None:
    """opda's band holds on the whole distribution function and not just where the curve reads it."""
    trials, confidence = 6, 0.95
    scores = [0.31, 0.72, 0.55, 0.9, 0.64, 0.83]
    low, _, high = EmpiricalDistribution.confidence_bands(
        scores, confidence, a=0.0, b=1.0, generator=np.random.default_rng(0), n_jobs=1
    )
    numbers = np.arange(1, trials + 1)
    curve = curve_of(list(scores))
    worse, better = high.quantile_tuning_curve(numbers), low.quantile_tuning_curve(numbers)
    assert (worse <= curve.worse).all()
    assert (better >= curve.better).all()
    assert 0 < curve.worse[0] < curve.better[0] < 1


def peak(points: Floats, generator: np.random.Generator) -> Floats:
    return np.asarray(0.9 - (points - 0.7) ** 2 + 0.01 * generator.uniform(-1, 1, points.shape))


def cliff(points: Floats, generator: np.random.Generator) -> Floats:
    """A score that rises up to 0.7 of the range, beyond which trainings diverge."""
    return np.where(points > 0.7, 0.0, 0.5 + 0.5 * points + 0.001 * generator.uniform(-1, 1, points.shape))


def steps(points: Floats, generator: np.random.Generator) -> Floats:
    """Shares of twenty rows."""
    return np.asarray(np.round(20 * peak(points, generator)) / 20)


@pytest.mark.parametrize("trials", [4, 8, 16])
@pytest.mark.parametrize("surface", [peak, cliff, steps])
def test_the_band_of_a_surface_holds_at_all_numbers_of_trials(surface: Surface, trials: int) -> None:
    generator = np.random.default_rng([trials, len(surface.__name__)])
    many = np.sort(surface(generator.random(400_000), generator))
    truth = np.quantile(many, 0.5 ** (1 / np.arange(1, trials + 1)), method="inverted_cdf")
    held = 0
    for scores in surface(generator.random((TRIES, trials)), generator):
        curve = curve_of(scores.tolist())
        held += bool((truth >= curve.low).all() and (truth <= curve.high).all())
    assert held / TRIES >= 0.95 - THREE_ERRORS
    assert surface is steps or held / TRIES <= exact_ceiling(trials) + THREE_ERRORS


def exact_ceiling(trials: int) -> float:
    """The coverage for scores without ties, which is above the nominal one since ranks are whole numbers."""
    return {4: 0.9678, 8: 0.9689, 16: 0.9570}[trials]


@pytest.mark.parametrize(
    ("scores", "scale", "estimate"),
    [
        ([0.8], SHARE, (0.8,)),
        ([0.8], UNBOUNDED, (0.8,)),
        ([None], LOSS, (math.inf,)),
        ([None] * 3, SHARE, (0.0,) * 3),
        ([0.5] * 8, SHARE, (0.5,) * 8),
        ([1.0] * 8, SHARE, (1.0,) * 8),
        ([-1.0, 1.0], CORRELATION, (-1.0, 1.0)),
        ([2.5, None, math.inf], LOSS, (math.inf, 2.5, 2.5)),
        ([-3.5, 2.0, None], UNBOUNDED, (-3.5, 2.0, 2.0)),
    ],
    ids=["one", "one-unbounded", "diverged", "all-diverged", "ties", "at-best", "two", "infinite-loss", "unbounded"],
)
def test_every_set_of_scores_has_a_curve(
    scores: list[float | None], scale: ScoreRange, estimate: tuple[float, ...]
) -> None:
    curve = curve_of(scores, scale)
    assert curve.estimate == estimate
    assert curve.trials == len(scores)
    for low, middle, high in zip(curve.low, curve.estimate, curve.high, strict=True):
        assert min(scale.worst, scale.best) <= low <= middle <= high <= max(scale.worst, scale.best)


@pytest.mark.parametrize("trials", [1, 2])
def test_of_one_and_two_trials_nothing_is_known_but_the_range(trials: int) -> None:
    curve = curve_of([0.8] * trials)
    assert (set(curve.low), set(curve.high), curve.reach) == ({0.0}, {1.0}, 0)


def test_more_trials_never_lower_the_curve_and_only_the_lower_end_is_known_of_many() -> None:
    curve = curve_of([0.5 + 0.01 * number for number in range(16)])
    for ends in (curve.low, curve.estimate, curve.high):
        assert list(ends) == sorted(ends)
    assert curve.reach == 2
    assert [high < 1 for high in curve.high] == [True] * 2 + [False] * 14
    assert all(low >= 0.5 for low in curve.low)


def test_a_loss_mirrors_a_score() -> None:
    scores = [0.31, 0.72, 0.55, 0.9, 0.64, 0.83, 0.2, 0.45]
    curve, mirrored = curve_of(list(scores)), curve_of([1 - score for score in scores], ScoreRange(worst=1.0, best=0.0))
    assert mirrored.low == tuple(1 - high for high in curve.high)
    assert mirrored.high == tuple(1 - low for low in curve.low)


def test_bands_of_several_methods_are_wider_since_they_hold_together() -> None:
    scores = [0.5 + 0.01 * number for number in range(16)]
    together = tuning_curves(dict.fromkeys(("lora", "adalora", "dora", "ia3"), scores), SHARE)
    alone = curve_of(list(scores), confidence=0.9875)
    assert (together["dora"].low, together["dora"].high) == (alone.low, alone.high)
    assert together["dora"].low < curve_of(list(scores)).low


def test_a_score_past_the_end_by_rounding_is_the_end() -> None:
    assert curve_of([1.0000000000000002, 0.5], CORRELATION).estimate[1] == 1.0


@pytest.mark.parametrize(
    ("scores", "confidence", "message"),
    [
        ({}, 0.95, "at least one method"),
        ({"lora": []}, 0.95, "lora: expected the score of at least one trial"),
        ({"lora": [0.5, 1.2]}, 0.95, "lora: expected a score from 0.0 to 1.0, found 1.2"),
        ({"lora": [0.5, math.nan]}, 0.95, "found nan"),
        ({"lora": [0.5]}, 95, "expected a confidence between 0 and 1, found 95"),
        ({"lora": [0.5]}, 1.0, "found 1.0"),
    ],
    ids=["no-method", "no-trial", "outside", "nan", "percent", "certain"],
)
def test_nonsense_is_refused(scores: dict[str, list[float | None]], confidence: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tuning_curves(scores, SHARE, confidence)


def test_a_range_has_two_ends() -> None:
    with pytest.raises(ValueError, match="two different ends"):
        ScoreRange(1.0, 1.0)


def test_the_range_of_a_metric() -> None:
    assert metric_facts("accuracy").range == metric_facts("rougeL").range == ScoreRange(worst=0.0, best=1.0)
    assert metric_facts("mcc").range == metric_facts("pearson").range == ScoreRange(worst=-1.0, best=1.0)
    assert metric_facts("no_label").range == ScoreRange(worst=1.0, best=0.0)
    assert metric_facts("loss").range == ScoreRange(worst=math.inf, best=0.0)
    assert metric_facts("evaluate:chrf:score").range == ScoreRange(worst=-math.inf, best=math.inf)
