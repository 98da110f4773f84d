"""Who is ahead after k trials: claimed where methods are far apart, and of equal methods no more often than allowed."""

from __future__ import annotations

import numpy as np
import pytest

from bench.analysis.stats.tuning_curves import TuningCurve, tuning_curves
from bench.analysis.stats.tuning_leads import Lead, lead_sentence, leads
from bench.config.score_ranges import LOSS, SHARE, UNBOUNDED

TRIES = 1000
MOST_FALSE = 0.05 + 3 * (0.05 * 0.95 / TRIES) ** 0.5


def pair_of(first: list[float | None], second: list[float | None]) -> tuple[TuningCurve, TuningCurve]:
    curves = tuning_curves({"first": first, "second": second}, SHARE)
    return curves["first"], curves["second"]


def spread_around(center: float, trials: int) -> list[float | None]:
    return [center + 0.02 * (number / trials - 0.5) for number in range(trials)]


def test_a_planted_lead_is_found_as_far_as_the_trials_can_tell() -> None:
    good, bad = pair_of(spread_around(0.9, 32), spread_around(0.6, 32))
    assert leads(good, bad) == (Lead(of_first=True, start=1, end=4, lasts=True),)
    assert leads(bad, good) == (Lead(of_first=False, start=1, end=4, lasts=True),)
    assert (
        lead_sentence("AdaLoRA", good, "LoRA", bad)
        == lead_sentence("LoRA", bad, "AdaLoRA", good)
        == "From 1 trial on AdaLoRA is ahead of LoRA, as far as 32 trials can tell: up to 4 (95% confidence)."
    )


def test_a_lead_begins_where_the_bands_part() -> None:
    """Half of the first method's trials collapse, so that it needs several trials for its better half to show."""
    trials = 64
    collapsing: list[float | None] = [None] * (trials // 2) + spread_around(0.9, trials // 2)
    first, second = pair_of(collapsing, spread_around(0.6, trials))
    (lead,) = leads(first, second)
    assert (lead.of_first, lead.lasts, lead.end) == (True, True, second.reach)
    assert lead.start > 1
    assert first.worse[lead.start - 1] > second.better[lead.start - 1]
    assert first.worse[lead.start - 2] <= second.better[lead.start - 2]
    sentence = lead_sentence("AdaLoRA", first, "LoRA", second)
    assert sentence.startswith(f"From {lead.start} trials on AdaLoRA is ahead of LoRA, as far as 64 trials")


def test_both_methods_can_lead_with_different_numbers_of_trials() -> None:
    trials = 64
    risky: list[float | None] = [None] * 44 + spread_around(0.9, 20)
    risky_curve, steady = pair_of(risky, spread_around(0.6, trials))
    early, late = leads(risky_curve, steady)
    assert (early.of_first, early.start, early.lasts) == (False, 1, False)
    assert (late.of_first, late.end, late.lasts) == (True, steady.reach, True)
    assert lead_sentence("AdaLoRA", risky_curve, "LoRA", steady) == (
        f"With 1 trial LoRA is ahead of AdaLoRA, with {late.start} to {late.end} trials AdaLoRA is ahead of LoRA "
        "(95% confidence)."
    )


def test_estimates_that_cross_are_no_lead() -> None:
    first, second = pair_of([0.1, 0.2, 0.3, 0.9, 0.95, 0.99, 0.2, 0.4], [0.5, 0.52, 0.54, 0.56, 0.5, 0.51, 0.53, 0.55])
    assert first.estimate[0] < second.estimate[0]
    assert first.estimate[-1] > second.estimate[-1]
    assert leads(first, second) == ()
    assert lead_sentence("LoRA", first, "AdaLoRA", second) == (
        "Neither LoRA nor AdaLoRA is shown to be ahead of the other (95% confidence); 8 trials can tell of 1 at most."
    )


@pytest.mark.parametrize("trials", [1, 2, 6])
def test_few_trials_cannot_tell_however_far_apart_the_methods_are(trials: int) -> None:
    first, second = pair_of([1.0] * trials, [None] * trials)
    number = "1 trial is" if trials == 1 else f"{trials} trials are"
    assert lead_sentence("LoRA", first, "AdaLoRA", second) == (
        f"Neither LoRA nor AdaLoRA is shown to be ahead of the other (95% confidence): {number} too few to tell."
    )


def test_a_lead_in_loss_is_the_lower_one() -> None:
    curves = tuning_curves({"first": [0.2 + k / 1000 for k in range(16)], "second": [0.9] * 15 + [None]}, LOSS)
    (lead,) = leads(curves["first"], curves["second"])
    assert lead.of_first


def test_a_method_with_fewer_trials_is_compared_where_both_have_some() -> None:
    few, many = pair_of(spread_around(0.9, 8), spread_around(0.6, 32))
    (lead,) = leads(few, many)
    assert (lead.of_first, lead.start, lead.end) == (True, 1, 4)
    (other_way,) = leads(*pair_of(spread_around(0.6, 8), spread_around(0.9, 32)))
    assert (other_way.of_first, other_way.end) == (False, 1)


@pytest.mark.parametrize("shared_points", [True, False], ids=["same-points", "own-points"])
@pytest.mark.parametrize("trials", [8, 32])
def test_equal_methods_are_seldom_told_apart(trials: int, shared_points: bool) -> None:
    """Four methods, six pairs: a claim about any of them, at any number of trials, is a false one."""
    generator = np.random.default_rng([trials, shared_points])
    false = 0
    for _ in range(TRIES):
        points = generator.random((1 if shared_points else 4, trials))
        scores = 0.9 - (points - 0.7) ** 2 + 0.02 * generator.normal(size=(4, trials))
        curves = list(tuning_curves({str(index): row.tolist() for index, row in enumerate(scores)}, UNBOUNDED).values())
        false += any(leads(curves[one], curves[other]) for one in range(4) for other in range(one))
    assert false / TRIES <= MOST_FALSE


def test_methods_that_are_far_apart_are_told_apart() -> None:
    """The first is better by 0.1 at every point; scores range over 0.3."""
    generator = np.random.default_rng(0)
    found = 0
    for _ in range(200):
        worse = 0.9 - 0.6 * (generator.random(32) - 0.7) ** 2 + 0.01 * generator.normal(size=32)
        first, second = pair_of((worse + 0.1).clip(0, 1).tolist(), worse.tolist())
        claimed = leads(first, second)
        assert all(lead.of_first for lead in claimed)
        found += bool(claimed)
    assert found / 200 >= 0.95


def test_curves_of_different_families_are_not_compared() -> None:
    alone = tuning_curves({"first": [0.5] * 8}, SHARE)["first"]
    with pytest.raises(ValueError, match="made together"):
        leads(alone, alone)
    first, _ = pair_of([0.5] * 8, [0.6] * 8)
    other = tuning_curves({"first": [0.5] * 8, "second": [0.5] * 8}, SHARE, confidence=0.9)["second"]
    with pytest.raises(ValueError, match="made together"):
        leads(first, other)
