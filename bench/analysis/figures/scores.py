"""The methods side by side: mean, spread and the score of each seed."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev

from matplotlib.figure import Figure

from bench.analysis.figures.style import color
from bench.analysis.results import Results, metric_values
from bench.analysis.wording import scaled_text
from bench.config.task import Task
from bench.records.schema import Record

LETTER_WIDTH = 0.066  # inches, of a letter of a label


def method_figure(results: Results, task: str) -> Figure:
    """One row per method and budget: mean, sd over seeds, and a tick for the score of each seed."""
    spec = results.tasks[task]
    rows = [
        (f"{label}, {budget} (n = {len(scores)})", scores)
        for method, label in results.labels.items()
        for budget in results.budgets
        if (scores := scores_of(results.successful(task, method, budget), spec))
    ]
    rows.reverse()  # the y-axis counts from the bottom
    longest = max((len(label) for label, _ in rows), default=0)
    # As wide as the labels need beside an axis that is wide enough for the line below it.
    figure = Figure(figsize=(max(5, 2.6 + LETTER_WIDTH * longest), 0.95 + 0.24 * len(rows)))
    axis = figure.subplots()
    for y, (_, scores) in enumerate(rows):
        axis.errorbar(mean(scores), y, xerr=_spread(scores), fmt="o", color=color(0), capsize=2, markersize=5)
        axis.plot(scores, [y] * len(scores), "|", color=color(1), markersize=7)
    axis.set(yticks=range(len(rows)), yticklabels=[label for label, _ in rows])
    name = scaled_text(spec.metric_facts(spec.metric))
    axis.set(xlabel=f"{name}\n(dot: mean; bar: sd; ticks: seeds)", title=spec.label)
    return figure


def scores_of(records: Sequence[Record], task: Task) -> list[float]:
    """The task's reported metric, in the unit of tables."""
    facts = task.metric_facts(task.metric)
    return [facts.shown(value) for value in metric_values(records, task.primary_split, task.metric)]


def _spread(scores: Sequence[float]) -> float:
    return stdev(scores) if len(scores) > 1 else 0.0
