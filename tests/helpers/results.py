"""Studies whose records and predictions stay in memory, so that a test can make a thousand of them in seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.analysis.results import Results
from bench.analysis.stats.comparison import Comparer
from bench.config.cell import Cell
from bench.config.resolve import ResolvedStudy
from bench.paths import StudyPaths
from bench.records.schema import Record
from helpers.records import make_record

Rows = dict[str, np.ndarray]  # by column of predictions.parquet, for one split


class StudyInMemory:
    """A study with made-up answers instead of records on disk."""

    def __init__(self, study: ResolvedStudy) -> None:
        self.study = study
        self._records = {
            c.id: make_record(c, {c.task.primary_split: dict.fromkeys(c.task.metrics)}) for c in study.cells
        }

    def comparer(self, answers: Callable[[Cell], np.ndarray]) -> Comparer:
        """The comparer of the study if each cell had given these answers.

        `answers` says for each example of a cell whether it is right. All tasks must have two labels and accuracy.
        """
        records: dict[str, Record] = {}
        predictions: dict[str, dict[str, Rows] | None] = {}
        for cell in self.study.cells:
            right = answers(cell)
            truth = np.arange(len(right)) % 2
            rows = {"row": np.arange(len(right)), "reference": truth, "prediction": np.where(right, truth, 1 - truth)}
            split = cell.task.primary_split
            predictions[cell.id] = {split: rows}
            records[cell.id] = self._scored(cell, {split: {"last": {"accuracy": float(right.mean())}}})
        return Comparer(
            Results(self.study, records, StudyPaths(Path("nowhere"), self.study.name)), predictions, draws=200
        )

    def _scored(self, cell: Cell, metrics: dict[str, Any]) -> Record:
        return self._records[cell.id].model_copy(update={"metrics": metrics})
