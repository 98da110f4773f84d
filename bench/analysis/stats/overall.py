"""Summaries of a method over several tasks: interquartile mean and probability of improvement.

Both follow Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (section 4.3
and appendix A), which recommends them for few runs per task. Intervals are percentiles of a bootstrap that resamples
runs within each task (stratified by task).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import trim_mean

Floats = NDArray[np.float64]
Bounds = tuple[float, float]
DRAWS = 2000
SEED = 20230310
QUANTILES = (0.025, 0.975)  # a two-sided 95% interval


@dataclass(frozen=True)
class Summary:
    """A method over all tasks, in the unit of its scores; an interval is None where a task has only one run."""

    mean: float
    iqm: float
    iqm_interval: Bounds | None
    improvement: float
    improvement_interval: Bounds | None


def iqm(scores: Sequence[Floats]) -> float:
    """Interquartile mean: the mean of the middle half of all runs of all tasks, pooled.

    `scores` holds one array of runs per task. As in the code of Agarwal et al., a quarter of the runs, rounded down, is
    cut at each end.
    """
    return float(trim_mean(np.concatenate(scores), 0.25))


def probability_of_improvement(first: Sequence[Floats], second: Sequence[Floats]) -> float:
    """P(a run of `first` scores higher than a run of `second` on the same task), mean over tasks.

    A tie counts one half, so that each task's term is the Mann-Whitney U statistic over the number of pairs of runs.
    """
    rates = [_win_rate(ours[None, :], theirs[None, :])[0] for ours, theirs in zip(first, second, strict=True)]
    return float(np.mean(rates))


def summarize(scores: Sequence[Floats], baseline: Sequence[Floats], name: str, baseline_name: str) -> Summary:
    """The summary of a method against a baseline; both hold one array of runs per task.

    The names decide the random draws, so that a table made again holds the same numbers.
    """
    resampled, resampled_baseline = _resample_runs(scores, name), _resample_runs(baseline, baseline_name)
    # Resampling a single run gives the same run again, and an interval of zero width.
    several_runs = min(map(len, scores)) > 1
    several_baseline_runs = min(map(len, baseline)) > 1
    # One interquartile mean per draw, over the pooled runs of all tasks.
    iqms = trim_mean(np.concatenate(resampled, axis=1), 0.25, axis=1)
    rates = [_win_rate(ours, theirs) for ours, theirs in zip(resampled, resampled_baseline, strict=True)]
    return Summary(
        mean=float(np.mean([runs.mean() for runs in scores])),
        iqm=iqm(scores),
        iqm_interval=_percentiles(iqms) if several_runs else None,
        improvement=probability_of_improvement(scores, baseline),
        improvement_interval=_percentiles(np.mean(rates, axis=0)) if several_runs and several_baseline_runs else None,
    )


def _resample_runs(scores: Sequence[Floats], name: str) -> list[Floats]:
    """For each task an array (draws x runs) of runs drawn with replacement."""
    generator = np.random.default_rng([SEED, zlib.crc32(name.encode())])
    # Sorted first, so that the numbers do not depend on which seed made which run.
    return [np.sort(runs)[generator.integers(0, len(runs), size=(DRAWS, len(runs)))] for runs in scores]


def _win_rate(first: Floats, second: Floats) -> Floats:
    """For each draw the share of pairs of runs that `first` wins; both are draws x runs.

    `scipy.stats.mannwhitneyu` gives the same number, but also a p for each of the draws, which takes longer and is
    undefined where all runs tie.
    """
    difference = first[:, :, None] - second[:, None, :]
    return np.asarray(((difference > 0) + 0.5 * (difference == 0)).mean(axis=(1, 2)))


def _percentiles(draws: Floats) -> Bounds:
    low, high = np.quantile(draws, QUANTILES)
    return float(low), float(high)
