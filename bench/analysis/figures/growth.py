"""How ranks grew over a training, and the held-out loss that a plateau was seen in."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import mean
from typing import TYPE_CHECKING, Any

from bench.analysis.figures.style import COLORS, MARKERS, read_curve
from bench.analysis.results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def growth_figures(results: Results) -> Iterator[tuple[str, str, Figure]]:
    """Of each task: mean rank of a matrix and held-out loss over the steps, of the first seed; none where no curve
    is left that has ranks."""
    for task in results.tasks:
        cells = [c for c in results.cells if c.task.name == task and c.id in results.records]
        good = [c for c in cells if results.records[c.id].status == "ok" and c.method.grows]
        first = [c for c in good if c.seed == min(cell.seed for cell in good)]
        several = len({cell.budget_name for cell in first}) > 1
        named = [(f"{c.method.label}, {c.budget_name}" if several else c.method.label, c) for c in first]
        read = {name: read_curve(results, results.records[cell.id]) for name, cell in named}
        curves = {name: lines for name, lines in read.items() if any(x.get("live_ranks") for x in lines)}
        if curves:
            text = f"{task}: mean rank of a matrix and loss on held-out rows over the optimizer steps, by method"
            yield f"{task}-growth", text, _figure(f"{task}, seed {first[0].seed}", curves)


def _figure(title: str, curves: dict[str, list[dict[str, Any]]]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.8))
    ranks, losses = figure.subplots(1, 2)
    for index, (label, lines) in enumerate(curves.items()):
        look = {"color": COLORS[index % len(COLORS)], "label": label, "linewidth": 1.2}
        steps = [(x["step"], mean(x["live_ranks"])) for x in lines if x.get("live_ranks")]
        steps += [(lines[-1]["step"], steps[-1][1])]
        ranks.step(*zip(*steps, strict=True), where="post", **look)
        watched = [(x["step"], x["held_out_loss"]) for x in lines if x.get("held_out_loss") is not None]
        if watched:
            losses.plot(*zip(*watched, strict=True), marker=MARKERS[index % len(MARKERS)], markersize=3, **look)
            for step, _ in steps[1:-1]:
                losses.axvline(step, color=look["color"], linewidth=0.6, linestyle=":")
    ranks.set(xlabel="optimizer step", ylabel="mean rank of a matrix")
    losses.set(xlabel="optimizer step", ylabel="held-out loss (dotted: growth)")
    ranks.legend(fontsize=6, frameon=False)
    figure.suptitle(title, fontsize=9)
    return figure
