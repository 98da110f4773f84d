"""Scores as figures: against what they cost, method beside method, and the differences between methods."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from bench.analysis.figures.style import COLORS, MARKERS
from bench.analysis.results import Results, value_of
from bench.analysis.stats.comparison import Comparer
from bench.analysis.tables.comparisons import comparisons, method_pairs
from bench.analysis.wording import LOWER_IS_BETTER, METRIC_NAMES, MIB
from bench.config.task import Task
from bench.records.schema import Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Cost = Callable[[Record], float | None]
COSTS: tuple[tuple[str, Cost], ...] = (
    ("adapter parameters at the end", lambda r: r.parameters.adapter_end if r.parameters else None),
    ("peak memory of training [MiB]", lambda r: r.bytes.peak.peak / MIB if r.bytes else None),
)
WIDE = 3  # costs that differ by more than this factor stand on a logarithmic axis


def trade_figure(results: Results, task: str) -> Figure:
    """Score against parameters and against memory, mean ± sd over seeds; what nothing beats in both is ringed."""
    from matplotlib.figure import Figure

    told = results.tasks[task]
    figure = Figure(figsize=(7.4, 3))
    axes = figure.subplots(1, 2, sharey=True)
    for axis, (name, cost) in zip(axes, COSTS, strict=True):
        points = _points(results, told, cost)
        for index, (method, found) in enumerate(points.items()):
            x, y, spread = zip(*sorted(found), strict=True) if found else ((), (), ())
            look: dict[str, Any] = {"color": COLORS[index % len(COLORS)], "marker": MARKERS[index % len(MARKERS)]}
            axis.errorbar(x, y, yerr=spread, label=method, linewidth=1, capsize=2, markersize=4, **look)
        best = pareto([(x, y) for found in points.values() for x, y, _ in found], told.metric in LOWER_IS_BETTER)
        ring = {"s": 90, "facecolors": "none", "edgecolors": "black", "linewidths": 0.8, "zorder": 5}
        axis.scatter([x for x, _ in best], [y for _, y in best], label="Pareto front", **ring)
        axis.set(xlabel=name)
        costs = [x for found in points.values() for x, _, _ in found]
        if costs and max(costs) > WIDE * min(costs):
            axis.set(xscale="log")
            _label_log(axis.xaxis, decades=math.log10(max(costs) / min(costs)))
        else:
            axis.locator_params(axis="x", nbins=4)
    axes[0].set(ylabel=f"{METRIC_NAMES[told.metric]} × 100 (bar: sd)")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=7, frameon=False, loc="outside right upper")
    figure.suptitle(task, fontsize=9)
    return figure


def _label_log(axis: Any, decades: float) -> None:
    """Labels at 1, 2 and 5 times the powers of ten, or at these alone where there are many: 20k, 50k, 100k."""
    from matplotlib.ticker import EngFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 2 else (1,)))
    axis.set_major_formatter(EngFormatter(sep=""))
    axis.set_minor_locator(NullLocator())


def pareto(points: Sequence[tuple[float, float]], lower_is_better: bool = False) -> list[tuple[float, float]]:
    """The points (cost, score) that no other beats: none costs less and scores as well, or the other way round."""
    sign = -1 if lower_is_better else 1
    kept = [
        (x, y)
        for x, y in points
        if not any((a <= x and sign * b >= sign * y) and (a < x or sign * b > sign * y) for a, b in points)
    ]
    return sorted(set(kept))


def method_figure(results: Results, task: str) -> Figure:
    """A dot a method and budget, with the spread over seeds and every seed's own score."""
    from matplotlib.figure import Figure

    told = results.tasks[task]
    rows = [
        (f"{label}, {budget}", scores)
        for method, label in results.labels.items()
        for budget in results.budgets
        if (scores := _scores(results.good(task, method, budget), told))
    ]
    figure = Figure(figsize=(5, 0.8 + 0.24 * len(rows)))
    axis = figure.subplots()
    for place, (_, scores) in enumerate(reversed(rows)):
        axis.errorbar(mean(scores), place, xerr=_spread(scores), fmt="o", color=COLORS[0], capsize=2, markersize=5)
        axis.plot(scores, [place] * len(scores), "|", color=COLORS[1], markersize=7)
    axis.set(yticks=range(len(rows)), yticklabels=[name for name, _ in reversed(rows)])
    axis.set(xlabel=f"{METRIC_NAMES[told.metric]} × 100 (dot: mean; bar: sd; ticks: seeds)", title=task)
    return figure


def difference_figure(comparer: Comparer) -> Figure | None:
    """A forest: each paired difference with its interval, over tasks and budgets; None where nothing can be paired."""
    from matplotlib.figure import Figure

    results = comparer.results
    pairs = method_pairs(results)
    found = [item for pair in pairs for item in comparisons(comparer, pair) if item[1] is not None]
    if not found:
        return None
    figure = Figure(figsize=(6.4, 0.9 + 0.2 * len(found)))
    axis = figure.subplots()
    names = []
    for place, (question, answer) in enumerate(reversed(found)):
        assert answer is not None  # they were left out above
        pair = (question.first, question.second)
        look: dict[str, Any] = {"color": COLORS[pairs.index(pair) % len(COLORS)], "markersize": 4}
        x, spread = 100 * answer.difference, answer.interval
        axis.plot(x, place, MARKERS[pairs.index(pair) % len(MARKERS)], **look)
        if spread is not None:
            axis.plot([100 * spread.low, 100 * spread.high], [place, place], linewidth=1.2, color=look["color"])
        difference = f"{results.labels[question.second]} − {results.labels[question.first]}"
        names.append(f"{question.task}, {question.budget}: {difference}")
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set(yticks=range(len(names)), yticklabels=names, xlabel="difference in points, 95% interval")
    axis.tick_params(axis="y", labelsize=6)
    return figure


def _points(results: Results, task: Task, cost: Cost) -> dict[str, list[tuple[float, float, float]]]:
    """By method's label: mean cost, mean score, spread of each budget."""
    points: dict[str, list[tuple[float, float, float]]] = {}
    for method, label in results.labels.items():
        for budget in results.budgets:
            records = results.good(task.name, method, budget)
            scores, costs = _scores(records, task), [value for r in records if (value := cost(r)) is not None]
            if scores and costs:
                points.setdefault(label, []).append((mean(costs), mean(scores), _spread(scores)))
    return points


def _scores(records: Sequence[Record], task: Task) -> list[float]:
    found = [value_of(record, task.primary_split, task.metric) for record in records]
    return [100 * value for value in found if value is not None]


def _spread(scores: Sequence[float]) -> float:
    return stdev(scores) if len(scores) > 1 else 0.0
