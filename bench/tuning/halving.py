"""Successive halving: which points go on from a rung. A pure function of what all rivals scored there.

Source: Jamieson and Talwalkar 2016 (https://proceedings.mlr.press/v51/jamieson16.html), with fractions of the full
schedule as resource: a trial that goes on is trained as if it had never been compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from bench.config.metric_facts import OF_LOSS, MetricFacts
from bench.records.rung import Rung
from bench.tuning.outcomes import mean_of_all, worth


def going_on(rungs: Mapping[str, Sequence[Rung]], by: MetricFacts, factor: int) -> frozenset[str]:
    """The points that go on from a rung, of all the points of a group.

    rungs: what the trials of each point came to at this rung, one per trial seed, in the order of the points. by: see
    `compared_by`. factor: the best 1 of so many of those that are still in go on, rounded up.

    Points are compared by the mean over trial seeds; ties go to the lower mean loss, then to the first point. A trial
    that diverged, failed or has an undefined score makes its point the worst of those that are still in.

    Example: of 8 points 4 go on from the first of two rungs with factor 2, and 2 of these from the second.
    """
    first = next(iter(rungs.values()))[0]
    count = len(rungs)
    for _ in range(first.rung):  # counted, not looked at: what failed on the way has taken a place
        count = math.ceil(count / factor)
    ranked = sorted(rungs, key=lambda point: _order(rungs[point], by))  # a stable sort: the first of equal points stays
    return frozenset(ranked[:count])


def _order(trials: Sequence[Rung], by: MetricFacts) -> tuple[bool, tuple[float, float]]:
    """A key that sorts points from the best to the worst, those that an earlier rung stopped last."""
    loss = mean_of_all([trial.score.loss if trial.score else None for trial in trials])
    score = mean_of_all([trial.score.metrics.get(by.key) if trial.score else None for trial in trials])
    return any(trial.stopped for trial in trials), worth(by, loss if by.key == OF_LOSS else score, loss)
