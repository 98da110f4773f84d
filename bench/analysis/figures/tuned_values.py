"""What was tried as a figure: the held-out score over each tuned key, by method, with the chosen point marked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from bench.analysis.figures.style import color, marker, shared_legend
from bench.analysis.tuning_results import GroupTuning, PointResult
from bench.config.tuning import Dimension

RING: dict[str, Any] = {"s": 80, "facecolors": "none", "edgecolors": "black", "linewidths": 1.0, "zorder": 5}
LOWEST_MARK, MARK_STEP = 0.03, 0.035  # of the axis: where points without a score are marked, a line per method
STOPPED_ALPHA = 0.4
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
CATEGORY_SPREAD = 0.5  # of the distance of two categories, over which the methods stand side by side


def tuned_value_figure(
    rows: Mapping[str, Mapping[str, GroupTuning]],
    space: Mapping[str, Dimension],
    labels: Mapping[str, str],
    score_name: str,
    factor: float,
) -> Figure:
    """A row of panels per budget and a panel per tuned key, of one task. `factor` multiplies the scores.

    A point without a score, such as one that diverged, is a cross at the bottom; one that successive halving stopped is
    pale; one whose trials are not all recorded is left out. Points of a single key are joined by a line. With several
    keys they are not: neighbors in one key differ in the others as well.

    Args:
        rows: by title, the groups of one budget by method.
        labels: of all methods of the study, in the order that gives the colors.
    """
    figure = Figure(figsize=(1.6 + 3.0 * len(space), 0.4 + 2.3 * len(rows)))
    axes = figure.subplots(len(rows), len(space), squeeze=False, sharey="row")
    for axes_of_row, (title, groups) in zip(axes, rows.items(), strict=True):
        for axis, (key, dimension) in zip(axes_of_row, space.items(), strict=True):
            for method, group in groups.items():
                drawing = _Method(axis, key, dimension, list(labels).index(method), len(labels), factor)
                drawing.draw(group, labels[method], joined=len(space) == 1)
            _scale_values(axis, key, dimension)
            axis.set_title(title, fontsize=9)
        axes_of_row[0].set_ylabel(score_name)
    # After the methods in the legend.
    for marks, entry in _marks(rows):
        axes[0][0].plot([], [], label=entry, linestyle="", color="black", **marks)
    shared_legend(figure)
    return figure


class _Method:
    """Draws one method into one panel."""

    def __init__(self, axis: Any, key: str, dimension: Dimension, index: int, methods: int, factor: float) -> None:
        self.axis, self.key, self.dimension, self.factor = axis, key, dimension, factor
        self.index, self.methods = index, methods
        self.look: dict[str, Any] = {"color": color(index), "markersize": 4, "linewidth": 1}

    def draw(self, group: GroupTuning, label: str, *, joined: bool) -> None:
        points = [point for point in group.points if point.complete]
        scored = sorted((self._place(p), self.factor * p.score) for p in points if p.score is not None)
        is_line = joined and self.dimension.values is None
        self.axis.plot([], [], f"{marker(self.index)}{'-' if is_line else ''}", label=label, **self.look)
        if is_line:
            self.axis.plot([x for x, _ in scored], [y for _, y in scored], **self.look)
        for point in points:
            self._draw_point(point)
        if group.chosen is not None and group.chosen.score is not None:
            self.axis.scatter(self._place(group.chosen), self.factor * group.chosen.score, **RING)

    def _draw_point(self, point: PointResult) -> None:
        x = self._place(point)
        if point.score is None:
            height = LOWEST_MARK + MARK_STEP * self.index
            self.axis.plot(x, height, "x", transform=self.axis.get_xaxis_transform(), **self.look)
        else:
            alpha = STOPPED_ALPHA if _stopped(point) else 1.0
            self.axis.plot(x, self.factor * point.score, marker(self.index), alpha=alpha, **self.look)

    def _place(self, point: PointResult) -> float:
        """Where the point is on the axis: categories are numbered, with the methods side by side."""
        value: Any = point.values[self.key]
        if self.dimension.values is None:
            return float(value)
        aside = (self.index + 0.5) / self.methods - 0.5
        return self.dimension.values.index(value) + CATEGORY_SPREAD * aside


def _stopped(point: PointResult) -> bool:
    """Whether successive halving stopped the trials of `point`."""
    return any(trial.stopped_at_rung is not None for trial in point.trials)


def _marks(rows: Mapping[str, Mapping[str, GroupTuning]]) -> list[tuple[dict[str, Any], str]]:
    """The marks that the figure has beside those of the methods, each with what it means."""
    groups = [group for of_row in rows.values() for group in of_row.values()]
    points = [point for group in groups for point in group.points if point.complete]
    marks: list[tuple[dict[str, Any], str]] = []
    if any(group.chosen for group in groups):
        marks.append(({"marker": "o", "markersize": 8, "markerfacecolor": "none"}, "chosen"))
    if any(point.score is None for point in points):
        marks.append(({"marker": "x", "markersize": 4}, "no score"))
    if any(point.score is not None and _stopped(point) for point in points):
        marks.append(({"marker": "o", "markersize": 4, "alpha": STOPPED_ALPHA}, "stopped early"))
    return marks


def _scale_values(axis: Any, key: str, dimension: Dimension) -> None:
    """The whole range of the key, its ends as dotted lines; or the values of a list as categories."""
    axis.set_xlabel(key.replace("_", " "))
    if dimension.values is not None:
        axis.set(xticks=range(len(dimension.values)), xticklabels=[_text(value) for value in dimension.values])
        axis.set_xlim(-0.5, len(dimension.values) - 0.5)
        return
    low, high = dimension.lowest or 0.0, dimension.highest or 0.0
    if dimension.scale == "log":
        axis.set_xscale("log")
        if high / low < 100:  # labels at the powers of ten alone would leave the axis nearly bare
            axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:g}"))
            axis.xaxis.set_minor_locator(NullLocator())
            axis.tick_params(axis="x", labelsize=7)
        else:
            axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _position: _power(value)))
            axis.xaxis.set_minor_formatter(NullFormatter())
    for end in (low, high):
        axis.axvline(end, color="gray", linewidth=0.8, linestyle=":")


def _power(value: float) -> str:
    """'10⁻⁴': matplotlib's own would be a formula, which `STYLE` doesn't read."""
    return "10" + str(round(math.log10(value))).translate(RAISED)


def _text(value: Any) -> str:
    """As YAML writes it: 0.0002, true, null."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
