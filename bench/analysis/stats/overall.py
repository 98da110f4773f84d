"""Summaries of a method over several tasks: interquartile mean and probability of improvement, with intervals.

Both are proposed by Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice"
(section 4.3 and appendix A). Two things differ here, since a study has few runs of tasks whose metrics are not one
quantity:

- The interquartile mean is taken within each task and then averaged, so that all tasks weigh alike, however many runs
  they have. Pooling the runs of all tasks, as the paper does, drops whole tasks where tasks differ more than runs.
- The paper's intervals are bootstrap percentiles over runs, which are too narrow for a few runs and have no width where
  runs tie. Those here are measured by `benchmarks/overall_coverage.py`; docs/results.md has its figures and its limits.

All functions take one array per task with runs on its last axis. Leading axes are studies of their own, so that a
simulation computes thousands at once; without them, results are arrays of no dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit
from statsmodels.stats.proportion import proportion_confint

Floats = NDArray[np.float64]
Bounds = tuple[float, float]
LEVEL = 0.95
RUNS_FOR_IQM, RUNS_FOR_IMPROVEMENT = 4, 2  # of every task: with fewer, the intervals do not hold
ZERO_WIDTH = 1e-9  # a narrower interval comes from rounding
TRIM = 0.25  # of a task's runs at each end


@dataclass(frozen=True)
class Summary:
    """A method over all tasks, in the unit of its scores.

    Attributes:
        mean: of the tasks' means.
        iqm_interval: None where a task has fewer than `RUNS_FOR_IQM` runs, or where the runs of every task agree.
        improvement_interval: None where a task has fewer than `RUNS_FOR_IMPROVEMENT` runs of either method.
    """

    mean: float
    iqm: float
    iqm_interval: Bounds | None
    improvement: float
    improvement_interval: Bounds | None


def summarize(scores: Sequence[Floats], baseline: Sequence[Floats]) -> Summary:
    """The summary of a method against a baseline; both hold one array of runs per task."""
    runs, runs_of_both = min(map(len, scores)), min(map(len, (*scores, *baseline)))
    improvement = probability_of_improvement(scores, baseline)
    iqm_interval = improvement_interval = None
    if runs >= RUNS_FOR_IQM:
        low, high = iqm_bounds(scores)
        iqm_interval = (float(low), float(high)) if high - low > ZERO_WIDTH else None
    # With a single run per task, both runs have the same seed: its luck is shared, and P over other seeds is not seen.
    if runs_of_both >= RUNS_FOR_IMPROVEMENT:
        low, high = improvement_bounds(improvement, pairs_of_runs(scores, baseline))
        improvement_interval = (float(low), float(high))
    return Summary(
        mean=float(np.mean([runs.mean() for runs in scores])),
        iqm=float(iqm(scores)),
        iqm_interval=iqm_interval,
        improvement=float(improvement),
        improvement_interval=improvement_interval,
    )


def iqm(scores: Sequence[Floats]) -> Floats:
    """The mean over tasks of each task's interquartile mean.

    Exactly a quarter of a task's runs is cut at each end: where that is no whole number, the last run counts in part.
    With a multiple of four runs it is `scipy.stats.trim_mean(runs, 0.25)`; with two, their mean.
    """
    return np.asarray(np.mean([_iqm_of_task(runs) for runs in scores], axis=0))


def iqm_bounds(scores: Sequence[Floats]) -> tuple[Floats, Floats]:
    """The 95% interval of `iqm`, meant for at least `RUNS_FOR_IQM` runs of every task.

    The half-width is that of Banerjee (1960): the root of the sum of t^2 variance over tasks, with each task's own
    degrees of freedom. It is conservative for any ratio of the tasks' spreads.
    """
    squares = np.asarray(
        sum(stdtrit(runs.shape[-1] - 1, (1 + LEVEL) / 2) ** 2 * _variance_of_iqm(runs) for runs in scores)
    )
    center, half_width = iqm(scores), np.sqrt(squares) / len(scores)
    return center - half_width, center + half_width


def probability_of_improvement(first: Sequence[Floats], second: Sequence[Floats]) -> Floats:
    """P(a run of `first` scores higher than a run of `second` on the same task), mean over tasks.

    A tie counts one half, so that each task's term is the Mann-Whitney U statistic over the number of pairs of runs.
    """
    return np.asarray(np.mean([_win_rate(ours, theirs) for ours, theirs in zip(first, second, strict=True)], axis=0))


def pairs_of_runs(first: Sequence[Floats], second: Sequence[Floats]) -> float:
    """How many independent pairs of runs a probability of improvement is worth at least.

    A task has as many as its method with fewer runs. For unequal tasks it is their harmonic mean times their number,
    since the tasks weigh alike.
    """
    pairs = [min(ours.shape[-1], theirs.shape[-1]) for ours, theirs in zip(first, second, strict=True)]
    return float(len(pairs) ** 2 / sum(1 / number for number in pairs))


def improvement_bounds(probability: Floats, trials: float) -> tuple[Floats, Floats]:
    """Clopper and Pearson's 95% interval for a share of `trials` independent pairs of runs.

    It has a width at 0 and 1 as well. It is conservative: the statistic uses all pairs of runs, and so varies less than
    a share of independent pairs.
    """
    wins = np.clip(probability, 0, 1) * trials
    low, high = proportion_confint(wins, trials, alpha=1 - LEVEL, method="beta")
    return np.asarray(low), np.asarray(high)


@cache
def _weights(runs: int) -> Floats:
    """Of the runs in ascending order: the overlap of each one's share of [0, 1] with the middle half, in sum 1."""
    edges = np.arange(runs + 1) / runs
    overlap = np.minimum(edges[1:], 1 - TRIM) - np.maximum(edges[:-1], TRIM)
    return np.asarray(np.clip(overlap, 0, None) / (1 - 2 * TRIM))


@cache
def _weights_without_one(runs: int) -> Floats:
    """Row i: the weights of the other runs if run i in ascending order is left out."""
    others = _weights(runs - 1)
    return np.array([np.insert(others, left_out, 0.0) for left_out in range(runs)])


def _iqm_of_task(runs: Floats) -> Floats:
    return np.asarray(np.sort(runs, axis=-1) @ _weights(runs.shape[-1]))


def _variance_of_iqm(runs: Floats) -> Floats:
    """The larger of the jackknife's variance of the interquartile mean and twice the variance of the mean.

    The jackknife alone is too low for a few runs. The second is for runs in two clusters, such as collapsed and good
    ones: there the interquartile mean varies more than the mean, but not at all in the jackknife's eyes if the smaller
    cluster happens to be trimmed.
    """
    number = runs.shape[-1]
    estimates = np.sort(runs, axis=-1) @ _weights_without_one(number).T
    jackknife = (number - 1) * estimates.var(axis=-1)
    return np.asarray(np.maximum(jackknife, 2 * runs.var(axis=-1, ddof=1) / number))


def _win_rate(first: Floats, second: Floats) -> Floats:
    """The share of pairs of runs that `first` wins.

    `scipy.stats.mannwhitneyu` gives the same number, but also a p, which takes longer and is undefined where all tie.
    """
    difference = first[..., :, None] - second[..., None, :]
    return np.asarray(((difference > 0) + 0.5 * (difference == 0)).mean(axis=(-2, -1)))
