"""The paired interval covers a known truth, and a real effect is bold."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.results import StudyInMemory
from scipy import stats

from bench.analysis.stats.examples import spread_of_share
from bench.analysis.stats.overall import (
    improvement_bounds,
    iqm,
    iqm_bounds,
    pairs_of_runs,
    probability_of_improvement,
)
from bench.analysis.stats.paired import LEVEL, Interval, detectable, detectable_bounds, paired_interval
from bench.analysis.tables.comparisons import comparison_table
from bench.analysis.tables.model import Table
from bench.analysis.tables.scores import Shown, pair_table
from bench.config.resolve import load_study

TRIES = 1000
LOWEST_COVERAGE = LEVEL - 3 * (LEVEL * (1 - LEVEL) / TRIES) ** 0.5  # 92.9%: three binomial errors below the nominal 95%
EFFECT = 0.02


def coverage(seeds: int, luck: float, hardness: float, rows: int = 100) -> float:
    """How often the interval contains the true difference of two methods, with new seeds and examples each time.

    A method is right with probability 0.7 (the second: 0.72) + an effect of its seed, uniform within ±luck, + an effect
    of the example on the method, uniform within ±hardness. With one seed, the truth is that of the two trained models.
    """
    generator = np.random.default_rng([seeds, int(100 * luck), int(100 * hardness)])
    covered = 0
    for _ in range(TRIES):
        seed_effect = generator.uniform(-luck, luck, (2, seeds, 1))
        example_effect = generator.uniform(-hardness, hardness, (2, 1, rows))
        right = (
            generator.random((2, seeds, rows))
            < np.array([0.7, 0.7 + EFFECT])[:, None, None] + seed_effect + example_effect
        )
        difference = right[1].astype(float) - right[0]
        interval = paired_interval(difference.mean(axis=1), spread_of_share(difference.T))
        truth = EFFECT + (float(seed_effect[1, 0, 0] - seed_effect[0, 0, 0]) if seeds == 1 else 0.0)
        assert interval is not None
        covered += interval.low <= truth <= interval.high
    return covered / TRIES


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize(("luck", "hardness"), [(0.15, 0.0), (0.05, 0.2)])
def test_the_interval_covers_the_truth(seeds: int, luck: float, hardness: float) -> None:
    """At least at the nominal rate. Where seeds dominate, not always either: such an interval would be useless."""
    rate = coverage(seeds, luck, hardness)
    assert rate >= LOWEST_COVERAGE
    assert hardness or rate <= 0.99


def test_the_interval_of_one_seed_covers_the_difference_of_the_two_models() -> None:
    assert LOWEST_COVERAGE <= coverage(1, 0.1, 0.0, rows=200) <= 0.97


def tables_of(study: StudyInMemory, number: int, effect: float = 0.0, luck: float = 0.15) -> tuple[Table, Table]:
    """The tables of scores and comparisons if LoRA is better by `effect`, and each cell by luck up to ±`luck`."""
    generator = np.random.default_rng(number)
    rows = 60
    comparer = study.comparer(
        lambda cell: (
            generator.random(rows) < 0.7 + generator.uniform(-luck, luck) + effect * (cell.method.name == "lora")
        )
    )
    scores = pair_table(comparer, Shown("t", "t", ["lora", "adalora"]))
    assert scores is not None
    return scores, comparison_table(comparer)


def has_bold(table: Table) -> bool:
    return any(entry.bold for row in table.rows for entry in row)


def two_methods(seeds: int) -> StudyInMemory:
    """Two tasks at one budget."""
    overrides = [f"seeds={list(range(seeds))}", "tasks=[sst2, qnli]", "methods=[lora, adalora]"]
    return StudyInMemory(load_study("fair-budget", overrides))


def test_a_real_effect_is_bold() -> None:
    tables = [tables_of(two_methods(5), number, effect=0.25, luck=0.02) for number in range(10)]
    assert all(has_bold(scores) and has_bold(pairs) for scores, pairs in tables)
    assert all(scores.rows[0][3].bold and not scores.rows[0][4].bold for scores, _ in tables)


@pytest.mark.parametrize(("runs", "units"), [(3, 3.07), (5, 2.02), (10, 1.32), (20, 0.91)])
def test_the_detectable_difference_agrees_with_power_analysis(runs: int, units: float) -> None:
    """Two independent groups of `runs` runs, in standard deviations; and one paired group, against statsmodels."""
    from statsmodels.stats.power import TTestPower

    independent = Interval(0.0, 2 / runs, 0.0, 2 * runs - 2, 0.0, 0.0, 1.0)
    assert detectable(independent) == pytest.approx(units, abs=0.006)
    paired = Interval(0.0, 1 / runs, 0.0, runs - 1, 0.0, 0.0, 1.0)
    expected = TTestPower().solve_power(nobs=runs, alpha=0.05, power=0.8)
    assert detectable(paired) == pytest.approx(expected, rel=0.002)


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_the_bounds_of_the_detectable_difference_hold_as_often_as_chi_square_says(seeds: int) -> None:
    """A sample variance at its own 2.5% quantile puts the upper bound at the truth, one at 97.5% the lower bound."""
    freedom = seeds - 1

    def estimated(variance: float) -> Interval:
        return Interval(0.0, variance / seeds, 0.4 / seeds, freedom, 0.0, 0.0, 1.0)

    truth = detectable(estimated(1.0))
    for tail, side in ((0.025, 1), (0.975, 0)):
        bounds = detectable_bounds(estimated(stats.chi2.ppf(tail, freedom) / freedom))
        assert bounds is not None
        assert bounds[side] == pytest.approx(truth, rel=1e-6)
    assert detectable_bounds(Interval(0.0, 0.0, 0.4, 0, 0.0, 0.0, 1.0)) is None


SCENARIOS = {
    "equal spreads": lambda generator, task, shape: generator.normal(60 + 5 * task, 1, shape),
    "unequal spreads": lambda generator, task, shape: generator.normal(60 + 5 * task, 0.1 * 5.0**task, shape),
    "ties": lambda generator, task, shape: np.round(2 * generator.normal(60.1 + task, 0.3, shape)) / 2,
    "a fifth collapses": lambda generator, task, shape: np.where(
        generator.random(shape) < 0.2, 50.0, generator.normal(80 + 2 * task, 1, shape)
    ),
}


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize(("tasks", "runs"), [(2, 4), (2, 10), (3, 5)])
def test_the_intervals_over_tasks_cover_the_truth(scenario: str, tasks: int, runs: int) -> None:
    """A small part of benchmarks/overall_coverage.py."""
    draw, generator = SCENARIOS[scenario], np.random.default_rng(0)
    many = [draw(generator, task, (100_000,)) for task in range(tasks)]
    ours, theirs = ([draw(generator, task, (TRIES, runs)) for task in range(tasks)] for _ in range(2))
    low, high = iqm_bounds(ours)
    truth = float(iqm(many))
    assert ((low <= truth) & (truth <= high)).mean() > LOWEST_COVERAGE
    low, high = improvement_bounds(probability_of_improvement(ours, theirs), pairs_of_runs(ours, theirs))
    assert ((low <= 0.5) & (high >= 0.5)).mean() > LOWEST_COVERAGE  # of two equal methods
    assert (high > low).all()
