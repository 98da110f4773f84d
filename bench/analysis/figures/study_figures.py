"""The list of a study's figures, in the order in which they are read."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.analysis.figures.curves import budget_figure, curve_figure
from bench.analysis.figures.differences import difference_figure
from bench.analysis.figures.growth import growth_figures
from bench.analysis.figures.patterns import pattern_figures
from bench.analysis.figures.ranks import rank_figure, ranks_differ
from bench.analysis.figures.scores import method_figure
from bench.analysis.figures.style import STYLE
from bench.analysis.figures.trade_off import trade_off_figure
from bench.analysis.figures.tuning import tuning_figures
from bench.analysis.results import Results
from bench.analysis.stats.comparison import Comparer
from bench.analysis.verdicts import against_baseline, verdicts

NamedFigure = tuple[str, str, Figure]  # file name, alternative text, figure
MANY_METHODS = 5  # from here on the methods are also drawn below each other, one row each


def study_figures(results: Results, comparer: Comparer | None = None) -> Iterator[NamedFigure]:
    """Every figure that the study can fill, one at a time, so that only one is in memory.

    Raises BenchError for predictions that do not match their record.
    """
    mpl.use("Agg")  # no display on a cluster's node
    with mpl.rc_context(STYLE):
        for task in results.tasks:
            yield from _task_figures(results, task)
        yield from pattern_figures(results)
        yield from tuning_figures(results)
        yield from growth_figures(results)
        differences = difference_figure(results, against_baseline(results, verdicts(comparer or Comparer(results))))
        if differences is not None:
            yield (
                "differences",
                "paired differences to the first method, with 95% intervals, a panel per task; filled: clear",
                differences,
            )


def _task_figures(results: Results, task: str) -> Iterator[NamedFigure]:
    records = [record for record in results.records.values() if record.cell.task == task and record.status == "ok"]
    if not records:
        return
    label = results.task_labels[task]
    # One seed is enough to see the course of a training; the scores below are over all seeds.
    first_seed = min(record.cell.seed for record in records)
    first_records = [record for record in records if record.cell.seed == first_seed]
    text = f"{label}: task loss and gradient norm over the optimizer steps, by method and budget"
    yield f"{task}-curves", text, curve_figure(results, first_records)
    budgets = budget_figure(results, first_records)
    if budgets is not None:
        yield f"{task}-budget", f"{label}: budget and live ranks over the optimizer steps", budgets
    text = f"{label}: score against adapter parameters and against peak memory; ringed: no other is better in both"
    yield f"{task}-score", text, trade_off_figure(results, task)
    if len(results.labels) >= MANY_METHODS:
        yield f"{task}-methods", f"{label}: score of every method, mean and spread", method_figure(results, task)
    for summary in first_records:  # the ranks are among the fields that a summary lacks
        record = results.full_record(summary.cell.id)
        if ranks_differ(record):
            name = f"{task}-ranks-{record.cell.method}-{record.cell.budget}"
            text = f"{results.name_of(record.cell)}: rank of every matrix, from the first step to the last"
            yield name, text, rank_figure(results, record)
