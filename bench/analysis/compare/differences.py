"""How far two sides are apart: second side minus first, per cell, per task x method x budget, and over tasks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bench.analysis.compare.sides import Pair
from bench.analysis.results import metric_value
from bench.analysis.stats.comparison import Scored, Split, example_spread, missing_of
from bench.analysis.stats.limits import Missing
from bench.analysis.stats.over_tasks import MeanDifference, mean_over_tasks
from bench.analysis.stats.paired import Interval, paired_interval
from bench.analysis.stats.predictions import Columns, Predictions, in_order, same_rows
from bench.analysis.stats.resampling import DRAWS
from bench.analysis.stats.without_texts import read_alike
from bench.config.metric_facts import MetricFacts
from bench.records.schema import Record

ROUNDING = 1e-9  # of a score: a smaller excess over a limit comes from rounding
Group = tuple[str, str, str, str]  # study, task, method, budget


@dataclass(frozen=True)
class Change:
    """The pairs of one cell, or of all seeds of a group, in the metric that both report; scores are as recorded.

    Attributes:
        pairs: those with a score on both sides.
        first, second: mean scores.
        interval: None where all have the same bits, or where nothing shows what the examples add: `missing` says why.
        differing: how many predictions differ, of `examples` in all pairs; None where they were not compared.
    """

    pairs: tuple[Pair, ...]
    metric: str
    first: float
    second: float
    interval: Interval | None
    missing: Missing | None
    differing: int | None
    examples: int | None

    @property
    def facts(self) -> MetricFacts:
        """Of the metric."""
        return self.pairs[0].task.metric_facts(self.metric)

    @property
    def difference(self) -> float:
        return self.second - self.first

    @property
    def same_bits(self) -> bool:
        return all(pair.same_bits for pair in self.pairs)

    @property
    def decided(self) -> bool:
        """Whether it is known if the sides differ here."""
        return self.same_bits or self.interval is not None

    def worse_by(self, limit: float) -> bool:
        """Whether the second side is worse by more than `limit`, as recorded, and the interval excludes zero."""
        loss = -self.facts.sign * self.difference
        return self.interval is not None and self.interval.excludes_zero and loss > limit + ROUNDING


@dataclass(frozen=True)
class OverTasks:
    """A method at a budget over the tasks of a study on which both sides have a score.

    first, second: means over tasks of the tasks' means. mean: None where a task has no interval.
    """

    study: str
    method: str
    budget: str
    changes: tuple[Change, ...]
    mean: MeanDifference | None

    @property
    def first(self) -> float:
        return float(np.mean([change.first for change in self.changes]))

    @property
    def second(self) -> float:
        return float(np.mean([change.second for change in self.changes]))

    @property
    def same_bits(self) -> bool:
        return all(change.same_bits for change in self.changes)

    def worse_by(self, limit: float) -> bool:
        """As for a single change. Only fractions of which more is better are averaged (`MetricFacts.averages`)."""
        return self.mean is not None and self.mean.excludes_zero and -self.mean.difference > limit + ROUNDING


@dataclass
class Differences:
    """Estimates the differences of paired cells. Each file of predictions is read once, each split resampled once."""

    pairs: Sequence[Pair]
    draws: int = DRAWS
    _splits: dict[tuple[str, str, str, str], Split] = field(default_factory=dict)
    _differing: dict[str, tuple[int, int]] = field(default_factory=dict)  # by study and cell: predictions, examples

    def groups(self) -> dict[Group, Change]:
        """By study, task, method and budget, in the order of names: over all seeds with a score on both sides."""
        by_group: dict[Group, list[Pair]] = {}
        for pair in sorted(self._scored_pairs(), key=lambda pair: pair.first.cell.seed):
            by_group.setdefault(pair.group, []).append(pair)
        return {group: self._change(by_group[group]) for group in sorted(by_group)}

    def cells(self) -> list[Change]:
        """One change per cell."""
        return [self._change([pair]) for pair in sorted(self._scored_pairs(), key=lambda pair: (pair.study, pair.id))]

    def over_tasks(self, groups: Mapping[Group, Change]) -> list[OverTasks]:
        """Each method at each budget that has a score on several tasks."""
        found: dict[tuple[str, str, str], list[Change]] = {}
        for (study, _, method, budget), change in groups.items():
            if change.facts.averages:
                found.setdefault((study, method, budget), []).append(change)
        several = {key: changes for key, changes in found.items() if len(changes) > 1}
        return [OverTasks(*key, tuple(changes), _mean(changes)) for key, changes in sorted(several.items())]

    def _scored_pairs(self) -> Iterable[Pair]:
        return (pair for pair in self.pairs if scores_of(pair) is not None)

    def _change(self, pairs: Sequence[Pair]) -> Change:
        scores = [found for pair in pairs if (found := scores_of(pair))]
        split = self._split(pairs[0])
        scored = [(split.cells[_name(pair, "A")], split.cells[_name(pair, "B")]) for pair in pairs]
        same_bits = all(pair.same_bits for pair in pairs)
        missing = None if same_bits else missing_of(scored)
        spread = None if same_bits or missing else example_spread(split, scored)
        interval = None if same_bits else paired_interval([second - first for first, second in scores], spread)
        counts = [self._differing[key] for pair in pairs if (key := f"{pair.study}/{pair.id}") in self._differing]
        return Change(
            pairs=tuple(pairs),
            metric=str(_metric(pairs[0])[1]),
            first=float(np.mean([first for first, _ in scores])),
            second=float(np.mean([second for _, second in scores])),
            interval=interval,
            missing=missing or (Missing.DISCORDANT if interval is None and not same_bits else None),
            differing=sum(count for count, _ in counts) if len(counts) == len(pairs) else None,
            examples=sum(examples for _, examples in counts) if len(counts) == len(pairs) else None,
        )

    def _split(self, pair: Pair) -> Split:
        """All cells of both sides that are scored in the pair's metric on its split of its task."""
        split, metric = _metric(pair)
        key = (pair.study, pair.task.name, split, metric)
        if key not in self._splits:
            cells: dict[str, Scored] = {}
            kinds: list[Columns] = []
            for other in self._scored_pairs():
                if (other.study, other.task.name, *_metric(other)) == key:
                    cells |= self._scored(other, kinds)
            self._splits[key] = Split(f"{pair.task.name}/{split}", cells, self.draws)
        return self._splits[key]

    def _scored(self, pair: Pair, kinds: list[Columns]) -> dict[str, Scored]:
        split, metric = _metric(pair)
        found = {}
        columns: list[Columns] = []
        files = [paths.predictions for paths in (pair.first_paths, pair.second_paths)]
        both = read_alike(pair.task, *files)
        for side, record, file, read in zip("AB", (pair.first, pair.second), files, both, strict=True):
            value = metric_value(record, split, metric)
            assert value is not None  # the pair has scores
            name = _name(pair, side)
            found[name] = Scored(name, value)
            if rows := _of(read, split):
                columns.append(rows)
                found[name] = Scored.of(name, value, pair.task, metric, rows, file, kinds)
        if len(columns) == 2 and same_rows(*columns):
            differs = [a != b for a, b in zip(columns[0]["prediction"], columns[1]["prediction"], strict=True)]
            self._differing[f"{pair.study}/{pair.id}"] = (sum(map(bool, differs)), len(differs))
        return found


def scores_of(pair: Pair) -> tuple[float, float] | None:
    """The reported scores of both sides as recorded; None if one has none, or they report other metrics or splits."""
    if _reported(pair.first) != _reported(pair.second) or pair.first.reported is None:
        return None
    first, second = (metric_value(record, *_metric(pair)) for record in (pair.first, pair.second))
    return None if first is None or second is None else (first, second)


def lost_score(pair: Pair) -> bool:
    """Whether the reported score of the first side is undefined on the second, as a correlation of constants is."""
    return (
        _reported(pair.first) is not None
        and _reported(pair.first) == _reported(pair.second)
        and metric_value(pair.first, *_metric(pair)) is not None
        and metric_value(pair.second, *_metric(pair)) is None
    )


def ratio(change: Change, read: Callable[[Record], float | None]) -> float | None:
    """The geometric mean over the pairs of second / first; None where a record does not tell it."""
    logs = []
    for pair in change.pairs:
        first, second = read(pair.first), read(pair.second)
        if not first or not second or first < 0 or second < 0:
            return None
        logs.append(math.log(second / first))
    return math.exp(sum(logs) / len(logs))


def _mean(changes: Sequence[Change]) -> MeanDifference | None:
    if not all(change.decided for change in changes):
        return None
    return mean_over_tasks([change.interval for change in changes])


def _reported(record: Record) -> tuple[str, str] | None:
    return (record.reported.split, record.reported.metric) if record.reported else None


def _metric(pair: Pair) -> tuple[str, str]:
    """Split and metric that the pair is compared in."""
    reported = pair.first.reported
    assert reported is not None  # only pairs with scores get here
    return reported.split, reported.metric


def _name(pair: Pair, side: str) -> str:
    return f"{side}:{pair.id}"


def _of(predictions: Predictions | None, split: str) -> Columns | None:
    return in_order(predictions[split]) if predictions and split in predictions else None
