"""Studies whose records and predictions stay in memory, so that a test can make a thousand of them in seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.analysis.results import Results
from bench.analysis.stats.comparison import Comparer
from bench.analysis.stats.perplexity import perplexity_sums
from bench.analysis.stats.resampling import sums_of
from bench.config.cell import Cell
from bench.config.resolve import ResolvedStudy
from bench.config.task import Task
from bench.paths import StudyPaths
from bench.records.schema import Record
from helpers.records import make_record

Rows = dict[str, np.ndarray]  # by column of predictions.parquet, for one split
Answers = Mapping[str, Rows | None]  # by cell id; None for a cell that failed


class StudyInMemory:
    """A study with made-up answers instead of records on disk."""

    def __init__(self, study: ResolvedStudy) -> None:
        self.study = study
        self._records = {
            c.id: make_record(c, {split: dict.fromkeys(c.task.metrics) for split in c.task.data.evaluation})
            for c in study.cells
        }
        self._failed = {c.id: make_record(c, {}, status="diverged") for c in study.cells}

    def comparer(self, answers: Callable[[Cell], np.ndarray]) -> Comparer:
        """The comparer of the study if each cell had given these answers.

        `answers` says for each example of a cell whether it is right. All tasks must have two labels and accuracy.
        """
        rows = {}
        for cell in self.study.cells:
            right = answers(cell)
            truth = np.arange(len(right)) % 2
            rows[cell.id] = {
                "row": np.arange(len(right)),
                "reference": truth,
                "prediction": np.where(right, truth, 1 - truth),
            }
        return self.comparer_of(rows)

    def comparer_of(self, answers: Answers) -> Comparer:
        """The comparer of the study with these rows of each cell, the same for every split of its task.

        A cell that is not in `answers` has no record. Metrics that the rows do not give are 0.5.
        """
        records: dict[str, Record] = {}
        predictions: dict[str, dict[str, Rows] | None] = {}
        for cell in (cell for cell in self.study.cells if cell.id in answers):
            rows = answers[cell.id]
            if rows is None:
                records[cell.id] = self._failed[cell.id]
                continue
            splits = cell.task.data.evaluation
            values = {"last": {metric: metric_of(cell.task, metric, rows) for metric in cell.task.metrics}}
            predictions[cell.id] = dict.fromkeys(splits, rows)
            records[cell.id] = self._scored(cell, dict.fromkeys(splits, values))
        return Comparer(
            Results(self.study, records, StudyPaths(Path("nowhere"), self.study.name)), predictions, draws=200
        )

    def _scored(self, cell: Cell, metrics: dict[str, Any]) -> Record:
        return self._records[cell.id].model_copy(update={"metrics": metrics})


def metric_of(task: Task, metric: str, rows: Rows) -> float:
    scores = rows.get(f"score_{metric}", rows.get("score") if metric == task.metric else None)
    by_rows = metric != "perplexity"
    sums = sums_of(task, metric, rows["reference"], rows["prediction"], scores) if by_rows else perplexity_sums(rows)
    return 0.5 if sums is None else float(sums.metric(sums.columns.sum(axis=0)))
