"""Compare two methods of one task and budget: paired over the seeds that both finished, and over the same examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from bench.analysis.results import Results, value_of
from bench.analysis.stats.paired import Interval, detectable, mcnemar, paired_interval, sign_flip, sign_flip_floor
from bench.analysis.stats.resampling import DRAWS, Floats, Sums, replicates, sums_of
from bench.errors import BenchError

NEEDED = ("split", "row", "reference", "prediction")
TOLERANCE = 1e-6  # between a recorded metric and the same made again from the saved predictions


@dataclass(frozen=True)
class Question:
    """second minus first, in one metric of one split of a task, at one budget."""

    task: str
    split: str
    metric: str
    budget: str
    first: str
    second: str


@dataclass(frozen=True)
class Comparison:
    """The answer, in fractions. interval None: no spread to judge by; examples None: judged by seeds alone."""

    question: Question
    seeds: tuple[int, ...]
    difference: float
    interval: Interval | None
    examples: int | None
    flip: float
    flip_floor: float
    mcnemar: tuple[float, ...]  # one exact p a seed; empty for metrics that are no share of right examples

    @property
    def clear(self) -> bool:
        """Whether the interval excludes zero and more than one seed stands behind it."""
        return self.interval is not None and self.interval.excludes_zero and len(self.seeds) > 1

    @cached_property
    def detectable(self) -> float | None:
        """The smallest true difference that would be found with 80% power; None where nothing tells the spread."""
        return detectable(self.interval) if self.interval else None


@dataclass
class Comparer:
    """Answers questions about one study; predictions are read once, and each split is resampled `draws` times once.

    tables: by cell, what is known of its predictions (by split, columns); what is not in it is read from the files.
    """

    results: Results
    tables: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    draws: int = DRAWS
    _resampled: dict[tuple[str, str, str], tuple[dict[str, int], Floats, int]] = field(default_factory=dict)

    def ask(self, question: Question) -> Comparison | None:
        """None where no seed has both values."""
        q = question
        first, second = (
            {r.cell.seed: (r.cell.id, v) for r in self.results.good(q.task, method, q.budget)
             if (v := value_of(r, q.split, q.metric)) is not None}
            for method in (q.first, q.second)
        )  # fmt: skip
        seeds = tuple(sorted(first.keys() & second.keys()))
        if not seeds:
            return None
        differences = [second[seed][1] - first[seed][1] for seed in seeds]
        pairs = [(first[seed][0], second[seed][0]) for seed in seeds]
        places, drawn, examples = self._drawn(q.task, q.split, q.metric)
        known = all(cell in places for pair in pairs for cell in pair)
        resampled = None
        if known:
            resampled = np.stack([drawn[:, places[b]] - drawn[:, places[a]] for a, b in pairs], axis=1)
        interval = paired_interval(differences, resampled)
        return Comparison(
            question=q,
            seeds=seeds,
            difference=float(np.mean(differences)),
            interval=interval,
            examples=examples if known else None,
            flip=sign_flip(differences),
            flip_floor=sign_flip_floor(len(seeds)),
            mcnemar=self._mcnemar(q, pairs) if known else (),
        )

    def _mcnemar(self, question: Question, pairs: Sequence[tuple[str, str]]) -> tuple[float, ...]:
        if question.metric not in ("accuracy", "exact_match"):
            return ()
        return tuple(mcnemar(*(self._right(question, cell) for cell in pair)) for pair in pairs)

    def _right(self, question: Question, cell: str) -> Any:
        made = self._sums(question.task, question.split, question.metric, cell)
        assert made is not None  # asked only for cells whose predictions are known
        return made.columns[:, 0] == 1

    def _drawn(self, task: str, split: str, metric: str) -> tuple[dict[str, int], Floats, int]:
        """Column of each cell, resampled metrics (draws x cells), and how many examples there are."""
        key = (task, split, metric)
        if key not in self._resampled:
            sums: dict[str, Sums] = {}
            rows: list[Any] | None = None  # numbers and references of the split's rows
            for cell in self.results.cells:
                if cell.task.name != task or cell.id not in self.results.records:
                    continue
                made = self._sums(task, split, metric, cell.id)
                if made is None:
                    continue
                table = self._table(cell.id)
                assert table is not None
                own = [table[split][name] for name in ("row", "reference")]
                rows = own if rows is None else rows
                if all(map(np.array_equal, rows, own)):  # else it was scored on others: paired by seeds alone
                    sums[cell.id] = made
            drawn = replicates(list(sums.values()), f"{task}/{split}", self.draws) if sums else np.empty((0, 0))
            examples = 0 if rows is None else len(rows[0])
            self._resampled[key] = ({name: i for i, name in enumerate(sums)}, drawn, examples)
        return self._resampled[key]

    def _sums(self, task: str, split: str, metric: str, cell: str) -> Sums | None:
        """From the saved predictions; None where there are none. Raises BenchError where they give another value."""
        record = self.results.records[cell]
        recorded = value_of(record, split, metric)
        table = self._table(cell) if recorded is not None else None
        if table is None or split not in table:
            return None
        part = table[split]
        made = sums_of(self.results.tasks[task], metric, part["reference"], part["prediction"], part.get("score"))
        if made is not None:
            again = float(made.metric(made.columns.sum(axis=0)))
            if recorded is None or abs(again - recorded) > TOLERANCE:
                file = self.results.paths.cell(cell).predictions
                raise BenchError(
                    f"{file}: gives {metric} {again:.6f} on {split}, but the record beside it says {recorded:.6f}: "
                    "they are not of the same run; delete the record and train the cell again"
                )
        return made

    def _table(self, cell: str) -> dict[str, Any] | None:
        """By split: arrays of the file's columns. None where there is no file. Raises BenchError."""
        if cell not in self.tables:
            self.tables[cell] = _read(self.results.paths.cell(cell).predictions)
        return self.tables[cell]


def _read(file: Any) -> dict[str, Any] | None:
    import pandas as pd

    if not file.is_file():
        return None
    try:
        frame = pd.read_parquet(file)
    except (OSError, ValueError) as error:
        raise BenchError(f"{file}: no readable parquet file: {error}") from error
    lacking = [name for name in NEEDED if name not in frame.columns]
    if lacking:
        raise BenchError(f"{file}: column {lacking[0]!r} is missing; found {list(frame.columns)}")
    columns = [name for name in (*NEEDED[1:], "score") if name in frame.columns]
    return {
        str(split): {name: part[name].to_numpy() for name in columns}
        for split, part in frame.groupby("split", sort=False)
    }
