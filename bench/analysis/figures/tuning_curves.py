"""Tuning curves as a figure: the held-out score to expect from the best of k trials, by method, with its band."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bench.analysis.figures.style import color, marker, shared_legend
from bench.analysis.stats.tuning_curves import TuningCurve

COLUMNS = 3
MARGIN = 0.08  # of an axis, beyond what is drawn


@dataclass(frozen=True)
class CurvePanel:
    """One task at one budget: the curves of its methods, made together, by the methods' labels.

    `factor` multiplies the scores: see `MetricFacts`.
    """

    title: str
    score_name: str
    factor: float
    curves: Mapping[str, TuningCurve]


def tuning_curve_figure(panels: Sequence[CurvePanel], labels: Sequence[str]) -> Figure:
    """A panel per task and budget, a line with its band per method. `labels`: of all methods, which gives the colors.

    A band goes past an end of the axis where nothing is known but the range of the score.
    """
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(1.6 + 2.4 * columns, 0.7 + 2.2 * rows))
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis, panel in zip(axes, panels, strict=False):
        _draw_panel(axis, panel, labels)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    shared_legend(figure)
    confidence = 100 * next(iter(panels[0].curves.values())).confidence
    wrap = "\n" if columns == 1 else " "
    caption = (
        f"median of the best of so many trials at random points;{wrap}{confidence:g}% bands, for a whole panel at once"
    )
    figure.supxlabel(caption, fontsize=7)
    return figure


def _draw_panel(axis: Any, panel: CurvePanel, labels: Sequence[str]) -> None:
    shown = _shown_values(panel)
    bottom, top = min(shown, default=0.0), max(shown, default=1.0)
    margin = MARGIN * (top - bottom) or 1.0
    bottom, top = bottom - margin, top + margin
    for label, curve in panel.curves.items():
        numbers = np.arange(1, curve.trials + 1)
        # In place of the ends of a range, which may be infinite, lines go a little beyond the axis.
        low, middle, high = (
            np.clip(panel.factor * np.array(ends), bottom - margin, top + margin)
            for ends in (curve.low, curve.estimate, curve.high)
        )
        look: dict[str, Any] = {"color": color(labels.index(label))}
        edges = np.arange(curve.trials + 1) + 0.5
        axis.stairs(high, edges, baseline=low, fill=True, alpha=0.1, linewidth=0, **look)
        for ends in (low, high):
            axis.stairs(ends, edges, baseline=None, linewidth=0.6, linestyle=":", **look)
        axis.plot(numbers, middle, marker(labels.index(label)) + "-", markersize=3, linewidth=1.2, label=label, **look)
    most = max(curve.trials for curve in panel.curves.values())
    axis.set(xlabel="trials", ylabel=panel.score_name, xlim=(0.5, most + 0.5), ylim=(bottom, top))
    axis.set_title(panel.title, fontsize=9)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    if not shown:
        axis.text(
            0.5,
            0.5,
            f"no trial has a {panel.score_name.removeprefix('held-out ').partition(' [')[0]}",
            transform=axis.transAxes,
            ha="center",
            fontsize=8,
        )


def _shown_values(panel: CurvePanel) -> list[float]:
    """What the axis must show, times the factor: estimates and ends of bands, without ends of the score's range.

    If every estimate is one of these ends, these; none where the ends are infinite.
    """
    curves = panel.curves.values()
    ends = {end for curve in curves for end in (curve.scale.worst, curve.scale.best)}
    values = [value for curve in curves for part in (curve.low, curve.estimate, curve.high) for value in part]
    estimates = [value for curve in curves for value in curve.estimate if math.isfinite(value)]
    return [panel.factor * value for value in [value for value in values if value not in ends] or estimates]
