"""What happened over the steps of a training: loss, gradient norm, budget and live ranks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from bench.analysis.figures.style import COLORS, color, live_ranks, read_curve
from bench.analysis.results import Results
from bench.records.schema import Record

# By budget; methods beyond the number of colors begin anew with the colors and go on in this list.
LINE_STYLES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 4)), (0, (8, 3)), (0, (5, 6)))
SMOOTHING = 0.1  # weight of the newest step in the running mean


def curve_figure(results: Results, records: Sequence[Record]) -> Figure:
    """Task loss and gradient norm as running means, one line per record. All records are of one task and seed."""
    figure, axes = _two_axes(results, records)
    for record in records:
        curve = read_curve(results, record.cell.id)
        steps = [line["step"] for line in curve]
        for axis, key in zip(axes, ("loss", "gradient_norm"), strict=True):
            axis.plot(
                steps, _running_mean([line[key] for line in curve]), linewidth=1, **_line_options(results, record)
            )
    for axis, label in zip(axes, ("task loss (running mean)", "gradient norm (running mean)"), strict=True):
        axis.set(xlabel="optimizer step", ylabel=label)
    _add_legend(figure, axes[0])
    return figure


def budget_figure(results: Results, records: Sequence[Record]) -> Figure | None:
    """The budget at every step beside the number of live ranks; None if no record's ranks change."""
    curves = {record.cell.id: read_curve(results, record.cell.id) for record in records}
    moving = [record for record in records if _ranks_change(curves[record.cell.id])]
    if not moving:
        return None
    figure, (budget_axis, rank_axis) = _two_axes(results, records)
    for record in moving:
        curve, options = curves[record.cell.id], _line_options(results, record)
        steps = [line["step"] for line in curve]
        budget_axis.plot(steps, [line["budget"] for line in curve], linewidth=1.2, **options)
        totals = [(step, sum(ranks)) for step, ranks in live_ranks(curve)]
        totals.append((steps[-1], totals[-1][1]))  # draw the last ranks up to the last step
        rank_axis.step(*zip(*totals, strict=True), where="post", linewidth=1.2, **options)
    # A study may have budgets in ranks and in parameters.
    units = sorted({record.parameters.budget.unit for record in moving if record.parameters})
    budget_axis.set(xlabel="optimizer step", ylabel=f"budget [{', '.join(units)}]", ylim=(0, None))
    rank_axis.set(xlabel="optimizer step", ylabel="live ranks, all matrices", ylim=(0, None))
    _add_legend(figure, budget_axis)
    return figure


def _two_axes(results: Results, records: Sequence[Record]) -> tuple[Figure, Any]:
    figure = Figure(figsize=(7.4, 2.8))
    figure.suptitle(f"{results.task_labels[records[0].cell.task]}, seed {records[0].cell.seed}", fontsize=9)
    return figure, figure.subplots(1, 2)


def _line_options(results: Results, record: Record) -> dict[str, Any]:
    """Color by method, line style by budget and, where there are more methods than colors, by method, too."""
    method, budget = list(results.labels).index(record.cell.method), results.budgets.index(record.cell.budget)
    style = budget + len(results.budgets) * (method // len(COLORS))
    return {
        "color": color(method),
        "linestyle": LINE_STYLES[style % len(LINE_STYLES)],
        "label": f"{results.labels[record.cell.method]}, {record.cell.budget}",
    }


def _add_legend(figure: Figure, axis: Any) -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=6, frameon=False, loc="outside right upper")


def _ranks_change(curve: list[dict[str, Any]]) -> bool:
    return len({tuple(ranks) for _, ranks in live_ranks(curve)}) > 1


def _running_mean(values: Sequence[float | None]) -> pd.Series[float]:
    """Exponential running mean that starts at the first value; one that was not finite (None) leaves it as it was."""
    known = [math.nan if value is None else value for value in values]
    return pd.Series(known, dtype=float).ewm(alpha=SMOOTHING, adjust=False).mean()
