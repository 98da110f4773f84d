"""Paired differences with their intervals: a small panel per task, each with its own axis and unit."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.analysis.figures.style import color, marker
from bench.analysis.results import Results
from bench.analysis.verdicts import Verdict
from bench.analysis.wording import axis_text

COLUMNS = 2  # of panels on a page
PANEL_WIDTH = 3.7  # inches; more where labels are long
AXIS_WIDTH, LETTER_WIDTH = 2.5, 0.051  # inches: at least of an axis with its margins; of a letter of a label
LETTERS_BELOW = 40  # in a line below an axis of that width
ONE_SEED = "n = 1: these models, not the methods"


def difference_figure(results: Results, found: Sequence[Verdict]) -> Figure | None:
    """All panels, for print; None if there is no difference to show."""
    tasks = tasks_with_differences(results, found)
    if not tasks:
        return None
    columns = min(COLUMNS, len(tasks))
    rows = -(-len(tasks) // columns)  # rounded up
    figure = Figure(figsize=(_width(results, found) * columns, rows * _height(results, found)))
    axes = figure.subplots(rows, columns, squeeze=False)
    for number, axis in enumerate(axes.flat):
        if number < len(tasks):
            draw_differences(axis, results, tasks[number], found)
        else:
            axis.set_axis_off()
    return figure


def difference_panel(results: Results, task: str, found: Sequence[Verdict]) -> Figure:
    """The panel of one task."""
    figure = Figure(figsize=(_width(results, found), _height(results, found)))
    draw_differences(figure.subplots(), results, task, found)
    return figure


def tasks_with_differences(results: Results, found: Sequence[Verdict]) -> list[str]:
    known = {verdict.contrast.task for verdict in found if verdict.comparison}
    return [task for task in results.tasks if task in known]


def draw_differences(axis: Any, results: Results, task: str, found: Sequence[Verdict]) -> None:
    """One row per pair and budget, with its interval; the mark is filled where the difference is clear after Holm."""
    spec = results.tasks[task]
    facts = spec.metric_facts(spec.metric)
    shown = [verdict for verdict in found if verdict.contrast.task == task and verdict.comparison]
    shown.reverse()  # the y-axis counts from the bottom
    firsts = _firsts(found)
    for y, verdict in enumerate(shown):
        contrast, comparison = verdict.contrast, verdict.comparison
        assert comparison is not None  # filtered above
        index = list(results.labels).index(contrast.second)  # its color in all figures
        interval = comparison.interval
        if interval is not None:
            axis.plot(
                [facts.shown(interval.low), facts.shown(interval.high)], [y, y], linewidth=1.4, color=color(index)
            )
        fill = color(index) if verdict.significant else mpl.rcParams["axes.facecolor"]
        look = {"color": color(index), "markerfacecolor": fill, "markersize": 5}
        axis.plot(facts.shown(comparison.difference), y, marker(index), **look)
    axis.axvline(0, color=mpl.rcParams["text.color"], linewidth=0.8)
    baseline = results.labels[firsts[0]] if len(firsts) == 1 else ""
    to = f" to {baseline}" if baseline else ""
    labels = [_label(results, verdict, firsts) for verdict in shown]
    axis.set(yticks=range(len(labels)), yticklabels=labels, ylim=(-0.6, len(labels) - 0.4))
    name = axis_text(facts).replace(" [", "\n[") if facts.says_direction else axis_text(facts)  # a panel is narrow
    below = f"difference{to} in {name}".split("\n")
    axis.set_xlabel("\n".join(textwrap.fill(line, LETTERS_BELOW) for line in below), fontsize=8)
    if any(len(verdict.comparison.seeds) == 1 for verdict in shown if verdict.comparison):
        axis.set_xlabel(f"{axis.get_xlabel()}\n({ONE_SEED})", fontsize=7)
    axis.set_title(spec.label, fontsize=9, loc="left", fontweight="bold")
    axis.locator_params(axis="x", nbins=5)
    axis.tick_params(axis="both", labelsize=7)


def _firsts(found: Sequence[Verdict]) -> list[str]:
    """The methods that others are compared with."""
    return list(dict.fromkeys(verdict.contrast.first for verdict in found))


def _label(results: Results, verdict: Verdict, firsts: Sequence[str]) -> str:
    """'AdaLoRA, small (n = 3)', with the method that it is compared with where that is not one for all."""
    contrast, comparison = verdict.contrast, verdict.comparison
    second = results.labels[contrast.second]
    of_pair = second if len(firsts) == 1 else f"{second} − {results.labels[contrast.first]}"
    return f"{of_pair}, {contrast.budget} (n = {len(comparison.seeds) if comparison else 0})"


def _width(results: Results, found: Sequence[Verdict]) -> float:
    """Inches of a panel, the same for all: long labels take no width from the axes."""
    labels = [_label(results, verdict, _firsts(found)) for verdict in found if verdict.comparison]
    return max(PANEL_WIDTH, AXIS_WIDTH + LETTER_WIDTH * max(map(len, labels), default=0))


def _height(results: Results, found: Sequence[Verdict]) -> float:
    """Inches: the same for all panels, so that they line up."""
    rows = [sum(v.contrast.task == task and v.comparison is not None for v in found) for task in results.tasks]
    return 0.95 + 0.19 * max(rows, default=1)
