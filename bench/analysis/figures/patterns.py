"""Where a method puts its ranks: the mean final rank by role of the matrix and by layer, with the spread over seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any, get_args

from matplotlib.figure import Figure

from bench.analysis.figures.style import color, marker, shared_legend
from bench.analysis.pattern_methods import methods_of, source_of
from bench.analysis.patterns import Pattern, Site
from bench.analysis.results import Results
from bench.config.module_roles import Role, role_of

NAME = "pattern_by_role_and_layer"
PANEL_WIDTH, ROW_HEIGHT = 3.7, 1.75  # inches
SPREAD = 0.5  # of a unit of the x-axis: the width over which the methods stand beside each other
MAX_LAYERS_NAMED = 13  # on an axis; of more, only some have their number
Place = tuple[int, int, str]  # sorts places on an axis: stack, place in it, name


@dataclass(frozen=True)
class Side:
    """One side of the figure. `place_of` says where on the x-axis a matrix belongs; None: it is not shown."""

    name: str
    place_of: Callable[[Site], Place | None]
    joined: bool  # whether neighbors are joined by lines


def _role_place(site: Site) -> Place:
    role = role_of(site.matrix)
    roles = get_args(Role)
    return (0, roles.index(role), role) if role else (0, len(roles), site.matrix)


def _layer_place(site: Site) -> Place | None:
    # A stack is named by the part of its path that tells the encoder from the decoder.
    stack = site.stack.rsplit(".", 2)[-2:][0]
    return None if site.layer is None else (int(stack == "decoder"), site.layer, stack)


ROLE, LAYER = Side("role", _role_place, joined=False), Side("layer", _layer_place, joined=True)
SIDES = (ROLE, LAYER)


def pattern_figures(results: Results) -> Iterator[tuple[str, str, Figure]]:
    """File name, alternative text and figure per task, for print: roles on the left, layers on the right."""
    for task in tasks_with_patterns(results):
        budgets = _budgets(results, task)
        figure = Figure(figsize=(2 * PANEL_WIDTH + 1.4, _height(budgets)))
        grid = figure.subplots(len(budgets), len(SIDES), squeeze=False, sharex="col", sharey="row")
        for side, axes in zip(SIDES, grid.T, strict=True):
            _draw_side(axes, results, task, side)
        _from_zero(grid[:, 0])
        shared_legend(figure)
        label = results.task_labels[task]
        yield f"{task}-{NAME}", f"{label}: mean final rank by role of the matrix and by layer, by method", figure


def pattern_panel(results: Results, task: str, side: Side) -> Figure:
    """One side of a task's figure, without a legend."""
    budgets = _budgets(results, task)
    figure = Figure(figsize=(PANEL_WIDTH, _height(budgets)))
    axes = figure.subplots(len(budgets), 1, squeeze=False, sharex=True)[:, 0]
    _draw_side(axes, results, task, side)
    _from_zero(axes)
    return figure


def tasks_with_patterns(results: Results) -> list[str]:
    """The tasks of which some cell's matrices ended with different ranks."""
    return [task for task in results.tasks if _budgets(results, task)]


def _budgets(results: Results, task: str) -> list[str]:
    return [budget for budget in results.budgets if _varied(results, task, budget)]


def _varied(results: Results, task: str, budget: str) -> dict[str, list[Pattern]]:
    """The patterns of all seeds, by method, of the methods of which one varies at this task and budget.

    Methods that take over the ranks of another one are left out: they have its ranks.
    """
    own = [method.name for method in methods_of(results) if source_of(method) is None]
    patterns = {
        method: [
            results.patterns[record.cell.id]
            for record in results.successful(task, method, budget)
            if record.cell.id in results.patterns
        ]
        for method in own
    }
    return {method: found for method, found in patterns.items() if any(pattern.varies for pattern in found)}


def means_by_place(patterns: Sequence[Pattern], side: Side) -> dict[Place, list[float]]:
    """By place on the axis: one mean rank per pattern."""
    means: dict[Place, list[float]] = {}
    for pattern in patterns:
        ranks: dict[Place, list[int]] = {}
        for site, rank in zip(pattern.sites, pattern.ranks.tolist(), strict=True):
            place = side.place_of(site)
            if place is not None:
                ranks.setdefault(place, []).append(rank)
        for place, values in ranks.items():
            means.setdefault(place, []).append(mean(values))
    return means


def _draw_side(axes: Any, results: Results, task: str, side: Side) -> None:
    """One row per budget, in the array `axes`; only the lowest says what stands on the x-axis, which all share."""
    budgets = _budgets(results, task)
    shown = [
        {method: means_by_place(found, side) for method, found in _varied(results, task, budget).items()}
        for budget in budgets
    ]
    places = sorted({place for of_budget in shown for means in of_budget.values() for place in means})
    for axis, budget, of_budget in zip(axes, budgets, shown, strict=True):
        for number, (method, means) in enumerate(of_budget.items()):
            shift = SPREAD * (number - (len(of_budget) - 1) / 2) / len(of_budget)
            _draw_method(axis, results, method, _columns(means, places, shift, side))
        seeds = max(len(values) for means in of_budget.values() for values in means.values())
        axis.set_title(f"{results.task_labels[task]}, {budget} (n = {seeds})", fontsize=8, loc="left")
        axis.set_ylabel("mean final rank", fontsize=8)
        axis.set(xlim=(-0.6, len(places) - 0.4))
        axis.margins(y=0.1)
        axis.tick_params(axis="both", labelsize=7)
    _name_places(axes[-1], places, side)


def _columns(
    means: dict[Place, list[float]], places: Sequence[Place], shift: float, side: Side
) -> list[tuple[float, float, float]]:
    """x, mean and sd over seeds (0 of one seed) at each place; NaN where a line must end."""
    points: list[tuple[float, float, float]] = []
    before = None
    for number, place in enumerate(places):
        if place not in means:
            continue
        if before is not None and (not side.joined or before != place[2]):
            points.append((math.nan, math.nan, math.nan))
        values, before = means[place], place[2]
        points.append((number + shift, mean(values), stdev(values) if len(values) > 1 else 0.0))
    return points


def _draw_method(axis: Any, results: Results, method: str, points: Sequence[tuple[float, float, float]]) -> None:
    index = list(results.labels).index(method)  # its color in all figures
    xs, heights, spreads = zip(*points, strict=True)
    axis.errorbar(
        xs,
        heights,
        yerr=spreads,
        fmt=marker(index),
        color=color(index),
        linestyle="-",
        linewidth=0.8,
        elinewidth=0.8,
        markersize=3.5,
        label=results.labels[method],
    )


def _from_zero(axes: Any) -> None:
    """Last, since an axis with a fixed end no longer makes room for what is drawn after."""
    for axis in axes.flat:
        axis.set_ylim(bottom=0)


def _name_places(axis: Any, places: Sequence[Place], side: Side) -> None:
    if side is ROLE:
        axis.set_xticks(range(len(places)), [name for _, _, name in places], rotation=25, ha="right")
        axis.set_xlabel("role of the matrix", fontsize=8)
        return
    stacks = list(dict.fromkeys(stack for _, _, stack in places))
    named = range(0, len(places), -(-len(places) // MAX_LAYERS_NAMED))  # every second one of more, and so on
    axis.set_xticks(named, [f"{places[k][1]}" for k in named])
    axis.set_xlabel(f"layer ({', then '.join(stacks)})" if len(stacks) > 1 else "layer", fontsize=8)


def _height(budgets: Sequence[str]) -> float:
    return 0.75 + ROW_HEIGHT * len(budgets)
