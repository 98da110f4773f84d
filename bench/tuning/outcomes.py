"""What the trials of each point of a group came to, read from their records."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.config.cell import Cell
from bench.config.metric_facts import OF_LOSS, MetricFacts, metric_facts
from bench.config.tuning import HELD_OUT, Values
from bench.paths import StudyPaths
from bench.records.io import record_at
from bench.records.schema import Record

DIGITS = 12  # of a mean score: what differs in later ones differs by rounding alone


@dataclass(frozen=True)
class Outcome:
    """What the trials of one point came to.

    Attributes:
        score: the mean over trial seeds of what points are compared by, None where a trial has none (it failed, or its
            metric is undefined).
        loss: the mean over trial seeds of the loss on held-out rows, likewise.
        scores: of each trial, in the order of the seeds.
        stopped_at_rung: the rung of successive halving, from 1, at which the point was out; None if it was trained to
            the end.
        trials: the hash of each trial (`Cell.identity`) by its id.
    """

    values: Values
    score: float | None
    loss: float | None
    scores: tuple[float | None, ...]
    stopped_at_rung: int | None
    trials: dict[str, str]

    @property
    def scored(self) -> int:
        """How many of its trials have a score."""
        return sum(score is not None for score in self.scores)


def outcomes(trials: Sequence[Cell], paths: StudyPaths) -> list[Outcome] | None:
    """The outcome of every point of one group, in the order of the points; None while a trial has no record.

    A record that was made with another spec than the trial has today is none. Raises BenchError if one can't be read.
    """
    by_point: dict[str, list[tuple[Cell, Record]]] = {}
    for trial in trials:
        assert trial.trial is not None
        record = trial_record(trial, paths)
        if record is None:
            return None
        by_point.setdefault(trial.trial.point, []).append((trial, record))
    return [outcome_of(recorded) for recorded in by_point.values()]


def trial_record(trial: Cell, paths: StudyPaths) -> Record | None:
    """The record of `trial`; None if there is none of its spec. Raises BenchError if it can't be read."""
    record = record_at(paths.cell(trial.id).record)
    return record if record is not None and record.cell.spec_hash == trial.spec_hash else None


def compared_by(trial: Cell) -> MetricFacts:
    """What the points of the trial's group are compared by: the task's first metric, or its loss."""
    assert trial.trial is not None
    by_loss = trial.trial.choose_by == "loss"
    return metric_facts(OF_LOSS) if by_loss else trial.task.metric_facts(trial.task.metric)


def worth(by: MetricFacts, score: float | None, loss: float | None) -> tuple[float, float]:
    """A key that sorts points from the best to the worst, by their mean score and then by their mean loss.

    A point without a score is the worst. `by`: see `compared_by`.
    """
    # A rounded score: the same number of right answers must be a tie, however it was added up.
    key = math.inf if score is None else -by.sign * round(score, DIGITS)
    return key, math.inf if loss is None else loss


def outcome_of(recorded: Sequence[tuple[Cell, Record]]) -> Outcome:
    """The outcome of a point from all of its trials and their records."""
    first = recorded[0][0]
    assert first.trial is not None
    scores = [_score(compared_by(first).key, record) for _, record in recorded]
    stopped = [record.training.stopped_at_rung for _, record in recorded if record.training is not None]
    return Outcome(
        values=first.trial.values,
        score=mean_of_all(scores),
        loss=mean_of_all([_score(OF_LOSS, record) for _, record in recorded]),
        scores=tuple(scores),
        stopped_at_rung=min((rung for rung in stopped if rung is not None), default=None),
        trials={trial.id: record.cell.hash for trial, record in recorded},
    )


def _score(by: str, record: Record) -> float | None:
    """The metric, or the loss, on the held-out rows; None if the trial failed or if it is undefined."""
    if record.status != "ok":
        return None
    if by == OF_LOSS:
        return record.loss.get(HELD_OUT)
    return record.metrics.get(HELD_OUT, {}).get(record.selection, {}).get(by)


def mean_of_all(values: Sequence[float | None]) -> float | None:
    """The mean of `values`; None if there are none of them, or if one of them is None."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if len(known) == len(values) else None
