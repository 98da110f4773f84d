"""What the examples add to the spread of a paired difference.

A normal interval around bootstrap resamples is too narrow where few examples tell two methods apart, and has no width
where none does. So a share of right examples gets two examples more, one for either method (Bonett and Price 2012), and
any other metric a t variate whose degrees of freedom count the examples that make up the variance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
ROUNDING = 1e-13  # a smaller change of a metric comes from rounding


@dataclass(frozen=True)
class Spread:
    """How a difference varies with the examples.

    Attributes:
        total: variance of the mean over seeds.
        single: variance for a single seed, mean over the seeds.
        freedom: degrees of freedom of `total`.
        center: around which the interval lies; None for the difference itself.
        limit: the largest possible size of a difference.
    """

    total: float
    single: float
    freedom: float
    center: float | None = None
    limit: float = np.inf


def spread_of_share(differences: Floats) -> Spread:
    """The spread of a difference of shares.

    `differences` is examples x seeds: 1 where only the second method is right, -1 where only the first is, else 0.
    Two examples are added, +1 and -1 (Bonett and Price 2012, "Adjusted Wald confidence interval for a difference of
    binomial proportions based on paired data"), so that the interval has a width even without a discordant example.
    """
    seeds = differences.shape[1]
    smoothed = np.concatenate([differences, np.ones((1, seeds)), -np.ones((1, seeds))])
    examples = len(smoothed)
    means = smoothed.mean(axis=1)
    return Spread(
        total=float(means.var() / examples),
        single=float(smoothed.var(axis=0).mean() / examples),
        freedom=examples - 1,
        center=float(means.mean()),
        limit=1.0,
    )


def spread_of_resamples(resampled: Floats, left_out: Floats) -> Spread | None:
    """The spread of a difference in any metric; None where fewer than two examples make it up.

    Args:
        resampled: draws x seeds; the differences on bootstrap resamples of the examples. Each draw uses one resample
            for all seeds.
        left_out: examples x seeds; the differences without one example.

    The degrees of freedom are (sum of squares)^2 / (sum of fourth powers) - 1 of the examples' influences: near the
    number of examples that matter, if these matter alike, and near a third of all examples for normal influences.
    """
    influences = left_out.mean(axis=1)
    influences = influences - influences.mean()
    squares = float((influences**2).sum())
    if squares <= len(influences) * ROUNDING**2:
        return None
    effective = squares**2 / float((influences**4).sum())
    if effective < 2 - 1e-9:
        return None
    return Spread(
        total=float(resampled.mean(axis=1).var()),
        single=float(resampled.var(axis=0).mean()),
        freedom=effective - 1,
    )
