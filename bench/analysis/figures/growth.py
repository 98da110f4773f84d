"""How ranks grew over a training, and the held-out loss in which a plateau was detected."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import mean
from typing import Any

from matplotlib.figure import Figure

from bench.analysis.figures.style import color, live_ranks, marker, read_curve
from bench.analysis.results import Results
from bench.config.cell import Cell


def growth_figures(results: Results) -> Iterator[tuple[str, str, Figure]]:
    """File name, alternative text and figure per task, for the first seed; none where no curve holds ranks."""
    for task in results.tasks:
        cells = [cell for cell in results.cells if cell.task.name == task and _grew(results, cell)]
        first_seed = min((cell.seed for cell in cells), default=0)
        cells = [cell for cell in cells if cell.seed == first_seed]
        several_budgets = len({cell.budget_name for cell in cells}) > 1
        curves = {}
        for cell in cells:
            curve = read_curve(results, cell.id)
            if live_ranks(curve):
                label = cell.method.label
                curves[f"{label}, {cell.budget_name}" if several_budgets else label] = curve
        if curves:
            name = results.task_labels[task]
            text = f"{name}: mean rank of a matrix and loss on held-out rows over the optimizer steps, by method"
            yield f"{task}-growth", text, _figure(f"{name}, seed {first_seed}", curves)


def _grew(results: Results, cell: Cell) -> bool:
    record = results.records.get(cell.id)
    return cell.method.grows and record is not None and record.status == "ok"


def _figure(title: str, curves: dict[str, list[dict[str, Any]]]) -> Figure:
    figure = Figure(figsize=(7, 2.8))
    rank_axis, loss_axis = figure.subplots(1, 2)
    for index, (label, curve) in enumerate(curves.items()):
        options: dict[str, Any] = {"color": color(index), "label": label, "linewidth": 1.2}
        ranks = [(step, mean(ranks_of_step)) for step, ranks_of_step in live_ranks(curve)]
        growth_steps = [step for step, _ in ranks[1:]]
        ranks.append((curve[-1]["step"], ranks[-1][1]))  # draw the last ranks up to the last step
        rank_axis.step(*zip(*ranks, strict=True), where="post", **options)
        losses = [(line["step"], line["held_out_loss"]) for line in curve if line.get("held_out_loss") is not None]
        if losses:
            loss_axis.plot(*zip(*losses, strict=True), marker=marker(index), markersize=3, **options)
            for step in growth_steps:
                loss_axis.axvline(step, color=color(index), linewidth=0.6, linestyle=":")
    rank_axis.set(xlabel="optimizer step", ylabel="mean rank of a matrix")
    loss_axis.set(xlabel="optimizer step", ylabel="held-out loss (dotted: growth)")
    rank_axis.legend(fontsize=6, frameon=False)
    figure.suptitle(title, fontsize=9)
    return figure
