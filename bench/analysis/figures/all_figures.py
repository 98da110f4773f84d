"""Every figure of a study, in the order in which they are read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import matplotlib as mpl

from bench.analysis.figures.curves import budget_figure, curve_figure
from bench.analysis.figures.growth import growth_figures
from bench.analysis.figures.ranks import moved, rank_figure
from bench.analysis.figures.scores import difference_figure, method_figure, trade_figure
from bench.analysis.figures.style import STYLE
from bench.analysis.results import Results
from bench.analysis.stats.comparison import Comparer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Named = tuple[str, str, "Figure"]  # file name, alternative text, figure
MANY = 5  # methods, from which on they have a figure beside each other


def figures(results: Results, comparer: Comparer | None = None) -> Iterator[Named]:
    """One after the other, so that only one is held at a time. Raises BenchError as the tables do."""
    mpl.use("Agg")
    with mpl.rc_context(STYLE):
        for task in results.tasks:
            yield from _of_task(results, task)
        yield from growth_figures(results)
        found = difference_figure(comparer or Comparer(results))
        if found is not None:
            yield "differences", "paired differences between methods, with 95% intervals, by task and budget", found


def _of_task(results: Results, task: str) -> Iterator[Named]:
    good = [r for r in results.records.values() if r.cell.task == task and r.status == "ok"]
    if not good:
        return
    first = min(record.cell.seed for record in good)
    shown = [record for record in good if record.cell.seed == first]
    text = f"{task}: task loss and gradient norm over the optimizer steps, by method and budget"
    yield f"{task}-curves", text, curve_figure(results, shown)
    budgets = budget_figure(results, shown)
    if budgets is not None:
        yield f"{task}-budget", f"{task}: budget and live ranks over the optimizer steps", budgets
    text = f"{task}: score against adapter parameters and against peak memory; ringed: no other is better in both"
    yield f"{task}-score", text, trade_figure(results, task)
    if len(results.labels) >= MANY:
        yield f"{task}-methods", f"{task}: score of every method, mean and spread", method_figure(results, task)
    for record in map(results.full, (r.cell.id for r in shown)):
        if moved(record):
            name = f"{task}-ranks-{record.cell.method}-{record.cell.budget}"
            text = f"{record.cell.id}: rank of every matrix, from the first step to the last"
            yield name, text, rank_figure(results, record)
