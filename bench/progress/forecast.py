"""How long what is left will take, from the cells of the study that are done."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from bench.config.cell import Cell
from bench.estimate.duration import COST_KEYS, Forecast, Forecaster
from bench.paths import MANIFEST
from bench.pipeline.study import Pipeline
from bench.progress.curve_tail import CurveTail
from bench.progress.records_read import RecordsRead
from bench.progress.state import CellProgress


class Forecasts:
    """Forecasts for the cells of `pipeline`. Cells that share task, method and shapes share a forecast."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._forecaster, self._made_of = Forecaster([]), 0
        self._known: dict[tuple[Any, ...], Forecast | None] = {}
        self._rows: dict[str, int] = {}  # by the name of a task: training rows, once they are prepared

    def use(self, records: RecordsRead) -> None:
        """Forecast from these records from now on."""
        if records.changes != self._made_of:
            self._made_of = records.changes
            self._forecaster = Forecaster(records.timed)
            self._known.clear()

    def steps(self, cell: Cell) -> int | None:
        """Optimizer steps of the whole training; None while the number of its rows is not known."""
        rows = cell.declared_train_rows
        # Where a row of the data set may become several windows, the task's file does not say how many.
        if rows is None or cell.task.facts.target == "span":
            rows = self._prepared_rows(cell) or rows
        return cell.recipe.total_steps(rows - cell.recipe.holdout_rows) if rows else None

    def whole(self, cell: Cell) -> Forecast | None:
        """The forecast for the whole of `cell`; None if no cell like it is done."""
        recipe, steps = cell.recipe, self.steps(cell)
        costs = tuple(getattr(recipe, key) for key in COST_KEYS)
        key = (cell.task.name, cell.method.name, cell.trial is None, costs, recipe.processes, steps)
        if key not in self._known:
            self._known[key] = self._forecaster.forecast(cell, steps)
        return self._known[key]

    def left(self, cell: Cell, curve: CurveTail) -> float | None:
        """Seconds until a running cell is done: its steps at its own pace, else at that of cells like it.

        What follows the last step is in no curve, so it is counted where cells like it are done.
        """
        steps, like_it = self.steps(cell), self.whole(cell)
        pace = curve.rate
        if pace is None and like_it is not None:
            pace = like_it.seconds_per_step
        if steps is None or pace is None:
            return None
        left = (steps - curve.step) * pace + (like_it.after if like_it else 0.0)
        return max(0.0, left - (curve.age if curve.step else 0.0))

    def _prepared_rows(self, cell: Cell) -> int | None:
        if cell.task.name not in self._rows:
            try:
                manifest = json.loads((self._pipeline.data_folder(cell) / MANIFEST).read_bytes())
                self._rows[cell.task.name] = manifest["splits"][cell.task.data.train]["rows"]
            except (OSError, ValueError, KeyError, TypeError):
                return None
        return self._rows[cell.task.name]


def rest(cells: Sequence[Cell], progress: Sequence[CellProgress], forecasts: Forecasts) -> tuple[float | None, int]:
    """Seconds until all cells are done if as many run at once as now, and how many cells that leaves out.

    None where nothing runs, or nothing like what is left is done.
    """
    known, unknown, lanes = 0.0, 0, 0
    for cell, at in zip(cells, progress, strict=True):
        if at.stage in ("done", "failed"):
            continue
        lanes += at.stage in ("running", "starting")
        forecast = forecasts.whole(cell)
        left = at.left if at.stage == "running" else forecast and forecast.seconds
        known, unknown = known + (left or 0.0), unknown + (left is None)
    return (known / lanes, unknown) if lanes and known else (None, unknown)
