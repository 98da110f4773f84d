"""Compare two methods at one task and budget, paired over the seeds that both finished and over the same examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from bench.analysis.results import Results, metric_value
from bench.analysis.stats.examples import Spread, spread_of_resamples, spread_of_share
from bench.analysis.stats.limits import Limit, Missing, in_two_groups, limits_met
from bench.analysis.stats.paired import Interval, detectable, detectable_bounds, mcnemar, paired_interval, sign_flip
from bench.analysis.stats.predictions import Columns, Predictions, checked_sums, in_order, read_predictions, same_rows
from bench.analysis.stats.resampling import DRAWS, Floats, Sums, leave_one_out, replicates
from bench.config.metric_facts import MetricFacts
from bench.config.task import Task

MIN_SEEDS_TO_CLAIM = 3  # two seeds that agree by luck look like two that always agree


@dataclass(frozen=True)
class Contrast:
    """Second method minus first method, in one metric on one split of a task, at one budget."""

    task: str
    split: str
    metric: str
    budget: str
    first: str
    second: str


@dataclass(frozen=True)
class Comparison:
    """The estimate of a contrast, in fractions, or in the unit of a metric that is none.

    Attributes:
        facts: of the metric.
        seeds: those on which both methods have a score.
        difference: mean over these seeds.
        interval: None where nothing shows what the examples add; `missing` says why.
        examples: how many; None where the pairs were not scored on the same rows, or no score per row is known.
        sign_flip_p: see `paired.sign_flip`.
        mcnemar_p: one exact p per seed; empty for metrics other than a share of right examples.
        complete: whether both methods have a score on all seeds that the study asks for, and on the same ones.
        limits: what the coverage of the interval suffers from.
        claim_p: the p that a claim must rest on. It is that of the interval, but no less than `sign_flip_p` where runs
            of either method fall into two groups anywhere in the study.
    """

    contrast: Contrast
    facts: MetricFacts
    seeds: tuple[int, ...]
    difference: float
    interval: Interval | None
    examples: int | None
    sign_flip_p: float
    mcnemar_p: tuple[float, ...]
    complete: bool = True
    missing: Missing | None = None
    limits: tuple[Limit, ...] = ()
    claim_p: float | None = None

    @property
    def better(self) -> bool:
        """Whether the second method has the better mean."""
        return self.facts.sign * self.difference > 0

    @property
    def clear(self) -> bool:
        """Whether the interval excludes zero, and stands on enough seeds of which none is missing."""
        return self.decidable and self.interval is not None and self.interval.excludes_zero

    @property
    def decidable(self) -> bool:
        """Whether there is enough to say that one method is better: an interval, and enough seeds, none missing."""
        return self.interval is not None and self.complete and len(self.seeds) >= MIN_SEEDS_TO_CLAIM

    @cached_property
    def detectable(self) -> float | None:
        """The smallest true difference that would be found with 80% power; None where nothing shows the spread."""
        return detectable(self.interval) if self.interval else None

    @cached_property
    def detectable_bounds(self) -> tuple[float, float] | None:
        """The 95% interval of `detectable`; None where only examples show a spread."""
        return detectable_bounds(self.interval) if self.interval else None


@dataclass(frozen=True)
class Scored:
    """One cell with a score, and its predictions: the metric as sums over the examples, and the rows of these."""

    cell_id: str
    value: float
    sums: Sums | None = None
    rows: int | None = None  # cells that were scored on the same rows have the same number

    @classmethod
    def of(
        cls, cell_id: str, value: float, task: Task, metric: str, columns: Columns, file: Path, kinds: list[Columns]
    ) -> Scored:
        """A cell with its predictions `columns`, ordered by row; rows that are like none of `kinds` are added to them.

        Raises BenchError if the predictions, read from `file`, do not give `value`.
        """
        sums = checked_sums(task, metric, columns, value, file)
        rows = next((number for number, kind in enumerate(kinds) if same_rows(kind, columns)), len(kinds))
        if rows == len(kinds):
            kinds.append(columns)
        return cls(cell_id, value, sums, rows)


@dataclass(frozen=True)
class Split:
    """All cells of a task, scored in one metric on one split."""

    name: str
    cells: dict[str, Scored]
    draws: int
    _resamples: dict[int, dict[str, Floats]] = field(default_factory=dict)
    _left_out: dict[str, Floats] = field(default_factory=dict)

    def resampled(self, cell_id: str) -> Floats:
        """The metric of a cell on each resample of its examples, which are those of all cells with the same rows."""
        rows = self.cells[cell_id].rows
        assert rows is not None  # called only for cells whose predictions are known
        if rows not in self._resamples:
            sums = {cell.cell_id: cell.sums for cell in self.cells.values() if cell.rows == rows and cell.sums}
            draws = replicates(list(sums.values()), self.name, self.draws)
            self._resamples[rows] = dict(zip(sums, draws.T, strict=True))
        return self._resamples[rows][cell_id]

    def left_out(self, cell_id: str) -> Floats:
        """The metric of a cell without each of its examples."""
        sums = self.cells[cell_id].sums
        assert sums is not None  # as above
        if cell_id not in self._left_out:
            self._left_out[cell_id] = leave_one_out(sums)
        return self._left_out[cell_id]


@dataclass
class Comparer:
    """Estimates contrasts within one study. It reads each file of predictions once and resamples each split once.

    Attributes:
        predictions: by cell id; None for a cell without the file. Cells that are not in it are read from disk.
        draws: number of bootstrap resamples.
    """

    results: Results
    predictions: dict[str, Predictions | None] = field(default_factory=dict)
    draws: int = DRAWS
    _splits: dict[tuple[str, str, str], Split] = field(default_factory=dict)

    def compare(self, contrast: Contrast) -> Comparison | None:
        """The estimate of a contrast; None if no seed has a score of both methods.

        Raises BenchError if saved predictions cannot be read or do not give the recorded metric.
        """
        split = self._split(contrast.task, contrast.split, contrast.metric)
        first, second = self._scores(split, contrast, contrast.first), self._scores(split, contrast, contrast.second)
        seeds = tuple(sorted(first.keys() & second.keys()))
        if not seeds:
            return None
        # Only seeds that both methods finished, so that an easier seed favors neither.
        pairs = [(first[seed], second[seed]) for seed in seeds]
        differences = [second.value - first.value for first, second in pairs]
        missing = missing_of(pairs)
        spread = None if missing else example_spread(split, pairs)
        interval, sign_flip_p = paired_interval(differences, spread), sign_flip(differences)
        # Three good runs against three collapsed ones look like a difference, to Student's t as well. That a method's
        # runs collapse shows elsewhere in the study, and the exact test needs no normal seeds.
        exact = {contrast.first, contrast.second} & self.in_groups
        planned = [
            self.results.seeds_planned(contrast.task, m, contrast.budget) for m in (contrast.first, contrast.second)
        ]
        facts = self.results.tasks[contrast.task].metric_facts(contrast.metric)
        return Comparison(
            contrast=contrast,
            facts=facts,
            seeds=seeds,
            difference=float(np.mean(differences)),
            interval=interval,
            examples=None if missing else _examples(pairs),
            sign_flip_p=sign_flip_p,
            mcnemar_p=() if missing else _mcnemar(contrast, pairs),
            complete=first.keys() == second.keys() and planned == [len(seeds), len(seeds)],
            missing=missing or (None if interval else Missing.DISCORDANT),
            limits=_limits(facts, pairs) if interval else (),
            claim_p=None if interval is None else max(interval.p, sign_flip_p if exact else 0.0),
        )

    @cached_property
    def in_groups(self) -> frozenset[str]:
        """The methods whose seeds fall into two groups, in the reported metric of some task and budget of the study."""
        methods = set()
        for name, method, budget in self.results.groups:
            task = self.results.tasks[name]
            cells = self._split(name, task.primary_split, task.metric).cells
            ids = [record.cell.id for record in self.results.successful(name, method, budget)]
            scored = [cells[cell_id] for cell_id in ids if cell_id in cells]
            examples = [len(cell.sums.columns) for cell in scored if cell.sums]
            levels = [task.metric_facts(task.metric).level(cell.value) for cell in scored]
            if examples and in_two_groups(levels, min(examples)):
                methods.add(method)
        return frozenset(methods)

    def _scores(self, split: Split, contrast: Contrast, method: str) -> dict[int, Scored]:
        """By seed, for the seeds that have a score."""
        records = self.results.successful(contrast.task, method, contrast.budget)
        return {record.cell.seed: split.cells[record.cell.id] for record in records if record.cell.id in split.cells}

    def _split(self, task: str, split: str, metric: str) -> Split:
        key = (task, split, metric)
        if key not in self._splits:
            cells: dict[str, Scored] = {}
            # Cells that were scored on the same rows are found by comparison with one cell of each kind of rows.
            kinds: list[Columns] = []
            for cell in self.results.cells:
                record = self.results.records.get(cell.id)
                value = metric_value(record, split, metric) if record and cell.task.name == task else None
                if value is not None:
                    cells[cell.id] = self._scored(cell.id, value, key, kinds)
            self._splits[key] = Split(f"{task}/{split}", cells, self.draws)
        return self._splits[key]

    def _scored(self, cell_id: str, value: float, key: tuple[str, str, str], kinds: list[Columns]) -> Scored:
        task, split, metric = key
        file = self.results.paths.cell(cell_id).predictions
        if cell_id not in self.predictions:
            self.predictions[cell_id] = read_predictions(file)
        predictions = self.predictions[cell_id]
        if predictions is None or split not in predictions:
            return Scored(cell_id, value)
        columns = in_order(predictions[split])
        return Scored.of(cell_id, value, self.results.tasks[task], metric, columns, file, kinds)


Pairs = Sequence[tuple[Scored, Scored]]  # one pair per seed


def missing_of(pairs: Pairs) -> Missing | None:
    """Why the examples of these pairs cannot be compared; None where they can."""
    if any(cell.sums is None for pair in pairs for cell in pair):
        return Missing.ROW_SCORES
    # One resample of the examples serves all seeds, so these must have the same rows, too.
    return Missing.SAME_ROWS if len({cell.rows for pair in pairs for cell in pair}) > 1 else None


def _columns(pairs: Pairs) -> list[tuple[Floats, Floats]]:
    """Per pair: examples x k of the first and the second cell."""
    return [(first.sums.columns, second.sums.columns) for first, second in pairs if first.sums and second.sums]


def _examples(pairs: Pairs) -> int:
    return len(_columns(pairs)[0][0])


def example_spread(split: Split, pairs: Pairs) -> Spread | None:
    if all(cell.sums and cell.sums.share for pair in pairs for cell in pair):
        return spread_of_share(np.concatenate([second - first for first, second in _columns(pairs)], axis=1))
    resampled, left_out = (
        np.stack([of_cell(second.cell_id) - of_cell(first.cell_id) for first, second in pairs], axis=1)
        for of_cell in (split.resampled, split.left_out)
    )
    return spread_of_resamples(resampled, left_out)


def _limits(facts: MetricFacts, pairs: Pairs) -> tuple[Limit, ...]:
    discordant = np.any([(first != second).any(axis=1) for first, second in _columns(pairs)], axis=0)
    scores = [[facts.level(pair[side].value) for pair in pairs] for side in (0, 1)]
    return limits_met(len(discordant), int(discordant.sum()), scores)


def _mcnemar(contrast: Contrast, pairs: Pairs) -> tuple[float, ...]:
    if contrast.metric not in ("accuracy", "exact_match"):  # only these are a share of right examples
        return ()
    return tuple(mcnemar(first[:, 0] == 1, second[:, 0] == 1) for first, second in _columns(pairs))
