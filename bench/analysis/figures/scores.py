"""Scores as figures: against their cost, method beside method, and the differences between methods."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from statistics import mean, stdev
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator

from bench.analysis.figures.style import color, marker
from bench.analysis.results import Results, metric_values
from bench.analysis.stats.comparison import Comparer
from bench.analysis.tables.comparisons import compare_pair, method_pairs
from bench.analysis.wording import MIB, metric_name
from bench.config.task import LOWER_IS_BETTER, Task
from bench.records.schema import Record

Cost = Callable[[Record], float | None]
COSTS: tuple[tuple[str, Cost], ...] = (
    ("adapter parameters at the end", lambda r: r.parameters.adapter_end if r.parameters else None),
    ("peak memory of training [MiB]", lambda r: r.bytes.peak.peak / MIB if r.bytes else None),
)
RING: dict[str, Any] = {"s": 90, "facecolors": "none", "edgecolors": "black", "linewidths": 0.8, "zorder": 5}
MAX_LINEAR_RATIO = 3  # costs that differ by more than this factor need a logarithmic axis


def trade_off_figure(results: Results, task: str) -> Figure:
    """Score against parameters and against peak memory, mean ± sd over seeds; rings mark the Pareto front."""
    spec = results.tasks[task]
    figure = Figure(figsize=(7.4, 3))
    axes = figure.subplots(1, 2, sharey=True)
    for axis, (cost_name, cost) in zip(axes, COSTS, strict=True):
        points = _points(results, spec, cost)
        for index, (label, points_of_method) in enumerate(points.items()):
            costs, scores, spreads = zip(*sorted(points_of_method), strict=True)
            look: dict[str, Any] = {"color": color(index), "marker": marker(index), "markersize": 4}
            axis.errorbar(costs, scores, yerr=spreads, label=label, linewidth=1, capsize=2, **look)
        all_points = [(x, y) for points_of_method in points.values() for x, y, _ in points_of_method]
        front = pareto_front(all_points, lower_is_better=spec.metric in LOWER_IS_BETTER)
        axis.scatter([x for x, _ in front], [y for _, y in front], label="Pareto front", **RING)
        axis.set(xlabel=cost_name)
        _scale_costs(axis, [x for x, _ in all_points])
    axes[0].set(ylabel=f"{metric_name(spec.metric)} × 100 (bar: sd)")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=7, frameon=False, loc="outside right upper")
    counts = {
        len(_scores(results.successful(task, method, budget), spec))
        for method in results.labels
        for budget in results.budgets
    } - {0}
    figure.suptitle(f"{spec.label}, {_runs_text(counts)}", fontsize=9)
    return figure


def pareto_front(points: Sequence[tuple[float, float]], *, lower_is_better: bool = False) -> list[tuple[float, float]]:
    """The points (cost, score) that no other point dominates, by cost.

    A point dominates another if it is at least as good in both cost and score, and better in one of them.
    """
    sign = -1 if lower_is_better else 1

    def dominated(cost: float, score: float) -> bool:
        return any(c <= cost and sign * s >= sign * score and (c, s) != (cost, score) for c, s in points)

    return sorted({(cost, score) for cost, score in points if not dominated(cost, score)})


def method_figure(results: Results, task: str) -> Figure:
    """One row per method and budget: mean, sd over seeds, and a tick for the score of each seed."""
    spec = results.tasks[task]
    rows = [
        (f"{label}, {budget} (n = {len(scores)})", scores)
        for method, label in results.labels.items()
        for budget in results.budgets
        if (scores := _scores(results.successful(task, method, budget), spec))
    ]
    rows.reverse()  # the y-axis counts from the bottom
    figure = Figure(figsize=(5, 0.8 + 0.24 * len(rows)))
    axis = figure.subplots()
    for y, (_, scores) in enumerate(rows):
        axis.errorbar(mean(scores), y, xerr=_spread(scores), fmt="o", color=color(0), capsize=2, markersize=5)
        axis.plot(scores, [y] * len(scores), "|", color=color(1), markersize=7)
    axis.set(yticks=range(len(rows)), yticklabels=[label for label, _ in rows])
    axis.set(xlabel=f"{metric_name(spec.metric)} × 100 (dot: mean; bar: sd; ticks: seeds)", title=spec.label)
    return figure


def difference_figure(comparer: Comparer) -> Figure | None:
    """A forest plot of all paired differences with their intervals; None if no two methods can be paired."""
    results = comparer.results
    pairs = method_pairs(results)
    compared = [
        (index, contrast, comparison)
        for index, pair in enumerate(pairs)
        for contrast, comparison in compare_pair(comparer, pair)
        if comparison is not None
    ]
    if not compared:
        return None
    compared.reverse()  # the y-axis counts from the bottom
    figure = Figure(figsize=(6.4, 0.9 + 0.2 * len(compared)))
    axis = figure.subplots()
    labels = []
    for y, (index, contrast, comparison) in enumerate(compared):
        axis.plot(100 * comparison.difference, y, marker(index), color=color(index), markersize=4)
        interval = comparison.interval
        if interval is not None:
            axis.plot([100 * interval.low, 100 * interval.high], [y, y], linewidth=1.2, color=color(index))
        difference = f"{results.labels[contrast.second]} − {results.labels[contrast.first]}"
        labels.append(
            f"{results.task_labels[contrast.task]}, {contrast.budget}: {difference} (n = {len(comparison.seeds)})"
        )
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set(yticks=range(len(labels)), yticklabels=labels, xlabel="difference in points, 95% interval")
    if any(len(comparison.seeds) == 1 for _, _, comparison in compared):
        axis.set_xlabel(f"{axis.get_xlabel()}\n(n = 1: for these trained models,\nnot for the methods)")
    axis.tick_params(axis="y", labelsize=6)
    return figure


def _points(results: Results, task: Task, cost: Cost) -> dict[str, list[tuple[float, float, float]]]:
    """By method's label: mean cost, mean score and sd of the score, for each budget that has both."""
    points: dict[str, list[tuple[float, float, float]]] = {}
    for method, label in results.labels.items():
        for budget in results.budgets:
            records = results.successful(task.name, method, budget)
            scores = _scores(records, task)
            costs = [value for record in records if (value := cost(record)) is not None]
            if scores and costs:
                points.setdefault(label, []).append((mean(costs), mean(scores), _spread(scores)))
    return points


def _scale_costs(axis: Any, costs: Sequence[float]) -> None:
    """A linear axis for similar costs, else a logarithmic one with labels such as 20k, 50k, 100k."""
    if not costs or max(costs) <= MAX_LINEAR_RATIO * min(costs):
        axis.locator_params(axis="x", nbins=4)
        return
    axis.set(xscale="log")
    decades = math.log10(max(costs) / min(costs))
    # Over few decades, labels at the powers of ten alone would leave the axis nearly bare.
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 2 else (1,)))
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    axis.xaxis.set_minor_locator(NullLocator())


def _scores(records: Sequence[Record], task: Task) -> list[float]:
    """The task's reported metric, in points."""
    return [100 * value for value in metric_values(records, task.primary_split, task.metric)]


def _runs_text(counts: Collection[int]) -> str:
    """'n = 5', 'n = 3 to 5', or why there are no bars."""
    if not counts:
        return "no scores"
    low, high = min(counts), max(counts)
    if high == 1:
        return "n = 1: no spread is known"
    return f"n = {low}" if low == high else f"n = {low} to {high}"


def _spread(scores: Sequence[float]) -> float:
    return stdev(scores) if len(scores) > 1 else 0.0
