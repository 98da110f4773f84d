"""Score against what it costs: adapter parameters, and peak memory of training."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator

from bench.analysis.figures.scores import scores_of
from bench.analysis.figures.style import color, marker
from bench.analysis.results import Results
from bench.analysis.stats.mean_interval import half_width
from bench.analysis.wording import MIB, axis_text
from bench.config.task import Task
from bench.records.schema import Record


@dataclass(frozen=True)
class Cost:
    """A cost of a cell, and how an axis names it. `key` names its files and panels."""

    key: str
    name: str
    read: Callable[[Record], float | None]


COSTS = (
    Cost("parameters", "adapter parameters at the end", lambda r: r.parameters.adapter_end if r.parameters else None),
    Cost("memory", "peak memory of training [MiB]", lambda r: r.bytes.peak.peak / MIB if r.bytes else None),
)
RING: dict[str, Any] = {"s": 90, "facecolors": "none", "linewidths": 0.8, "zorder": 5}
MAX_LINEAR_RATIO = 3  # costs that differ by more than this factor need a logarithmic axis
# Digits of labels on a logarithmic axis over less than two decades: the first that give it two labels or more.
LABELED: tuple[tuple[float, ...], ...] = ((1, 2, 5), (1, 1.5, 2, 3, 5, 7))
PANEL = (3.7, 2.6)  # inches


def trade_off_figure(results: Results, task: str) -> Figure:
    """Score against both costs, for print: mean and its 95% interval over seeds; rings mark the Pareto front."""
    spec = results.tasks[task]
    figure = Figure(figsize=(7.4, 3))
    axes = figure.subplots(1, 2, sharey=True)
    for axis, cost in zip(axes, COSTS, strict=True):
        draw_trade_off(axis, results, spec, cost)
    axes[0].set(ylabel=_score_name(spec))
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=7, frameon=False, loc="outside right upper")
    figure.suptitle(f"{spec.label}, {_runs_text(_counts(results, spec))}", fontsize=9)
    return figure


def trade_off_panel(results: Results, task: str, cost: Cost) -> Figure:
    """One of its two panels, without a legend."""
    spec = results.tasks[task]
    figure = Figure(figsize=PANEL)
    axis = figure.subplots()
    draw_trade_off(axis, results, spec, cost)
    axis.set_title(f"{spec.label}, {_runs_text(_counts(results, spec))}", fontsize=9, loc="left", fontweight="bold")
    axis.set_ylabel(_score_name(spec), fontsize=8)
    axis.tick_params(axis="both", labelsize=7)
    return figure


def draw_trade_off(axis: Any, results: Results, spec: Task, cost: Cost) -> None:
    points = _points(results, spec, cost)
    for index, label in enumerate(results.labels.values()):
        if label not in points:
            continue
        costs, scores, widths = zip(*sorted(points[label]), strict=True)
        look: dict[str, Any] = {"color": color(index), "marker": marker(index), "markersize": 4}
        axis.errorbar(costs, scores, yerr=widths, label=label, linewidth=1, capsize=2, **look)
    all_points = [(x, y) for points_of_method in points.values() for x, y, _ in points_of_method]
    front = pareto_front(all_points, lower_is_better=spec.metric_facts(spec.metric).lower_is_better)
    edge = mpl.rcParams["text.color"]
    axis.scatter([x for x, _ in front], [y for _, y in front], label="Pareto front", edgecolors=edge, **RING)
    axis.set_xlabel(cost.name, fontsize=8)
    _scale_costs(axis, [x for x, _ in all_points])


def pareto_front(points: Sequence[tuple[float, float]], *, lower_is_better: bool = False) -> list[tuple[float, float]]:
    """The points (cost, score) that no other point dominates, by cost.

    A point dominates another if it is at least as good in both cost and score, and better in one of them.
    """
    sign = -1 if lower_is_better else 1

    def dominated(cost: float, score: float) -> bool:
        return any(c <= cost and sign * s >= sign * score and (c, s) != (cost, score) for c, s in points)

    return sorted({(cost, score) for cost, score in points if not dominated(cost, score)})


def _points(results: Results, task: Task, cost: Cost) -> dict[str, list[tuple[float, float, float]]]:
    """By method's label: mean cost, mean score and half of its interval, for each budget that has both."""
    points: dict[str, list[tuple[float, float, float]]] = {}
    for method, label in results.labels.items():
        for budget in results.budgets:
            records = results.successful(task.name, method, budget)
            scores = scores_of(records, task)
            costs = [value for record in records if (value := cost.read(record)) is not None]
            if scores and costs:
                points.setdefault(label, []).append((mean(costs), mean(scores), half_width(scores) or 0.0))
    return points


def _scale_costs(axis: Any, costs: Sequence[float]) -> None:
    """A linear axis for similar costs, else a logarithmic one with labels such as 20k, 50k, 100k."""
    if not costs or max(costs) <= MAX_LINEAR_RATIO * min(costs):
        axis.locator_params(axis="x", nbins=4)
        return
    axis.set(xscale="log")
    axis.xaxis.set_major_locator(LogLocator(subs=_labeled(min(costs), max(costs))))
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    axis.xaxis.set_minor_locator(NullLocator())


def _labeled(low: float, high: float) -> tuple[float, ...]:
    """The digits at which a logarithmic axis from `low` to `high` has labels.

    Over few decades, labels at the powers of ten alone would leave it nearly bare. With a single label in sight,
    matplotlib would take evenly spaced ones, which run into each other on such an axis.
    """
    lowest, highest = math.log10(low), math.log10(high)
    if highest - lowest >= 2:
        return (1,)
    exponents = range(math.floor(lowest), math.ceil(highest) + 1)

    def labels(digits: Sequence[float]) -> int:
        return sum(low <= digit * 10.0**exponent <= high for digit in digits for exponent in exponents)

    return next((digits for digits in LABELED if labels(digits) > 1), LABELED[-1])


def _score_name(spec: Task) -> str:
    return axis_text(spec.metric_facts(spec.metric))


def _counts(results: Results, spec: Task) -> Collection[int]:
    groups = [(spec.name, method, budget) for method in results.labels for budget in results.budgets]
    return {len(scores_of(results.successful(*group), spec)) for group in groups} - {0}


def _runs_text(counts: Collection[int]) -> str:
    """'bar: 95% interval of the mean, n = 5', or why there are no bars."""
    if not counts:
        return "no scores"
    low, high = min(counts), max(counts)
    text = f"n = {low}" if low == high else f"n = {low} to {high}"
    return f"{text}; bar: 95%" if high >= 3 else f"{text}: no interval"
