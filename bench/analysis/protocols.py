"""What the same trainings would be reported as under the protocols that are in use.

A paper reports the mean of the last step, or the best epoch, or the best seed, and seldom says which. A protocol takes
the scores of one method's trainings, one per seed, and makes the number that would be printed. Those that take a
maximum over scores of the reported split are optimistic: the number grows with the epochs and seeds that it was chosen
from, also where nothing was learned.

Epochs after which the adapter still held more than its budget are in no protocol: what was scored then is no adapter of
that budget.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import mean, median, stdev
from typing import Any

from bench.config.cell import Selection
from bench.config.metric_facts import MetricFacts
from bench.records.schema import Record


class Protocol(Enum):
    """How the trainings of one method become one number; the value is the name in tables."""

    LAST = "last step"
    HELD_OUT = "best held-out step"
    MEDIAN_SEED = "median seed"
    BEST_EPOCH = "best epoch"
    BEST_SEED = "best seed"
    BEST_EPOCH_OF_BEST_SEED = "best epoch of best seed"

    @property
    def optimistic(self) -> bool:
        """Whether it is a maximum over scores of the reported split."""
        return self in (Protocol.BEST_EPOCH, Protocol.BEST_SEED, Protocol.BEST_EPOCH_OF_BEST_SEED)

    @property
    def picks_seed(self) -> bool:
        """Whether it is the number of one seed, so that with a single one there is nothing to pick."""
        return self in (Protocol.MEDIAN_SEED, Protocol.BEST_SEED, Protocol.BEST_EPOCH_OF_BEST_SEED)

    @property
    def of_run(self) -> Protocol:
        """Which score of a training it takes: that of the protocol which averages such scores over the seeds."""
        if self is Protocol.BEST_EPOCH_OF_BEST_SEED:
            return Protocol.BEST_EPOCH
        return Protocol.LAST if self.picks_seed else self

    @classmethod
    def of_study(cls, selection: Selection) -> Protocol:
        """The one by which all other tables of a study report."""
        return cls.HELD_OUT if selection == "best" else cls.LAST


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        scores: as recorded, by LAST, HELD_OUT and BEST_EPOCH; None where the metric is undefined, and no key where the
            score was not taken.
        epochs: how many epochs were scored.
        over_budget: how many of these are left out, since the adapter was above its budget.
    """

    seed: int
    scores: Mapping[Protocol, float | None]
    epochs: int = 0
    over_budget: int = 0

    def score(self, protocol: Protocol) -> float | None:
        """The score that enters `protocol`; None where it is undefined or was not taken."""
        return self.scores.get(protocol.of_run)


@dataclass(frozen=True)
class Report:
    """The number that a protocol makes of `n` trainings; `spread` is the sd over seeds of a mean of several."""

    value: float
    n: int
    spread: float | None = None


def run_of(record: Record, curve: Sequence[Mapping[str, Any]], split: str, metric: MetricFacts) -> Run:
    """A training that ended well, in one metric of one split.

    `curve` has the lines of its curve.jsonl; it may be empty where no epoch was scored. HELD_OUT is the step that the
    record calls best, else the epoch of the lowest held-out loss, if the loss was taken after every epoch within the
    budget and after the last step. Of equal losses the first counts, as in `bench.training.best_step`.
    """
    by_selection = record.metrics.get(split, {})
    last = by_selection.get("last", {}).get(metric.key)
    scores = {Protocol.LAST: last}
    if "best" in by_selection:
        scores[Protocol.HELD_OUT] = by_selection["best"].get(metric.key)
    epochs = [line for line in curve if line.get("scores")]
    if not epochs:
        return Run(record.cell.seed, scores)
    final = curve[-1]
    within = [line for line in epochs if line["budget"] <= final["budget"]]
    before = [line for line in within if line["step"] < final["step"]]
    # The record has the scores of what was saved after the last step, which may not have ended an epoch.
    candidates = [line["scores"].get(split, {}).get(metric.key) for line in before] + [last]
    scores[Protocol.BEST_EPOCH] = best_of([score for score in candidates if score is not None], metric)
    if all("held_out_loss" in line for line in (*before, final)):
        chosen = _lowest([line["held_out_loss"] for line in (*before, final)])
        if chosen is not None:
            scores.setdefault(Protocol.HELD_OUT, candidates[chosen])
    return Run(record.cell.seed, scores, len(epochs), len(epochs) - len(within))


def report(protocol: Protocol, runs: Sequence[Run], metric: MetricFacts) -> Report | None:
    """The number of one method; None where no run has a score for it."""
    scores = [score for run in runs if (score := run.score(protocol)) is not None]
    best = best_of(scores, metric)
    if best is None:
        return None
    if protocol.picks_seed:
        return Report(median(scores) if protocol is Protocol.MEDIAN_SEED else best, len(scores))
    return Report(mean(scores), len(scores), stdev(scores) if len(scores) > 1 else None)


def difference(protocol: Protocol, first: Sequence[Run], second: Sequence[Run], metric: MetricFacts) -> Report | None:
    """Second method minus first, each reported by `protocol` over the seeds that have a score of both."""
    seeds = {run.seed for run in first if run.score(protocol) is not None}
    seeds &= {run.seed for run in second if run.score(protocol) is not None}
    minuend, subtrahend = (
        report(protocol, [run for run in runs if run.seed in seeds], metric) for runs in (second, first)
    )
    return Report(minuend.value - subtrahend.value, len(seeds)) if minuend and subtrahend else None


def best_of(scores: Sequence[float], metric: MetricFacts) -> float | None:
    """The best of these scores; None of none."""
    return (min if metric.lower_is_better else max)(scores, default=None)


def _lowest(losses: Sequence[float | None]) -> int | None:
    """The place of the lowest loss, the first of several. None is a loss that was not finite."""
    finite = [(loss, place) for place, loss in enumerate(losses) if loss is not None]
    return min(finite)[1] if finite else None
