"""What happened over the steps of a training: loss, gradient norm, budget and live ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bench.analysis.figures.style import COLORS, read_curve
from bench.analysis.results import Results
from bench.records.schema import Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LINES = ("-", "--", ":", "-.")


def curve_figure(results: Results, records: Sequence[Record]) -> Figure:
    """Running means of task loss and gradient norm, a line a record."""
    figure, axes = _pair(records)
    for record in records:
        lines = read_curve(results, record)
        look = {**_look(results, record), "linewidth": 1}
        for axis, key in zip(axes, ("loss", "gradient_norm"), strict=True):
            axis.plot([x["step"] for x in lines], _smooth([x[key] or 0.0 for x in lines]), **look)
    for axis, name in zip(axes, ("task loss (running mean)", "gradient norm (running mean)"), strict=True):
        axis.set(xlabel="optimizer step", ylabel=name)
    _legend(figure, axes[0])
    return figure


def budget_figure(results: Results, records: Sequence[Record]) -> Figure | None:
    """The budget of every step beside the ranks that live, for trainings whose ranks change; None where none do."""
    moving = [(record, lines) for record in records if _moves(lines := read_curve(results, record))]
    if not moving:
        return None
    figure, (budgets, ranks) = _pair(records)
    for record, lines in moving:
        look = {**_look(results, record), "linewidth": 1.2}
        budgets.plot([x["step"] for x in lines], [x["budget"] for x in lines], **look)
        told = [(x["step"], sum(x["live_ranks"])) for x in lines if "live_ranks" in x]
        steps, live = zip(*told, (lines[-1]["step"], told[-1][1]), strict=True)
        ranks.step(steps, live, where="post", **look)
    units = sorted({record.parameters.budget.unit for record, _ in moving if record.parameters})
    budgets.set(xlabel="optimizer step", ylabel=f"budget [{', '.join(units)}]", ylim=(0, None))
    ranks.set(xlabel="optimizer step", ylabel="live ranks, all matrices", ylim=(0, None))
    _legend(figure, budgets)
    return figure


def _pair(records: Sequence[Record]) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.4, 2.8))
    figure.suptitle(f"{records[0].cell.task}, seed {records[0].cell.seed}", fontsize=9)
    return figure, figure.subplots(1, 2)


def _look(results: Results, record: Record) -> dict[str, Any]:
    """Color by method, line by budget."""
    method, budget = list(results.labels).index(record.cell.method), results.budgets.index(record.cell.budget)
    return {
        "color": COLORS[method % len(COLORS)], "linestyle": LINES[budget % len(LINES)],
        "label": f"{results.labels[record.cell.method]}, {record.cell.budget}",
    }  # fmt: skip


def _legend(figure: Figure, axis: Any) -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=6, frameon=False, loc="outside right upper")


def _moves(lines: Sequence[dict[str, Any]]) -> bool:
    return len({tuple(x["live_ranks"]) for x in lines if "live_ranks" in x}) > 1


def _smooth(numbers: Sequence[float]) -> list[float]:
    """Exponential running mean, started at the first value."""
    out: list[float] = []
    for number in numbers:
        out.append(number if not out else 0.9 * out[-1] + 0.1 * number)
    return out
