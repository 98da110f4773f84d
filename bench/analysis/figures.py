"""Figures from records and curves: live ranks by matrix and layer, loss and gradient norm, score against parameters."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import mean, stdev
from typing import TYPE_CHECKING

import matplotlib as mpl

from bench.analysis.drawing import COLOURS, MARKERS, STYLE, read_curve
from bench.analysis.frame import Results, values
from bench.analysis.growth_figure import growth_figures
from bench.analysis.names import METRIC_NAMES
from bench.records.schema import Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figures(results: Results) -> Iterator[tuple[str, str, Figure]]:
    """Name, alternative text, and figure, one after the other."""
    mpl.use("Agg")
    with mpl.rc_context(STYLE):
        for task in dict.fromkeys(cell.task.name for cell in results.study.cells):
            yield from _of_task(results, task)
        yield from growth_figures(results)


def _of_task(results: Results, task: str) -> Iterator[tuple[str, str, Figure]]:
    good = [r for r in results.records.values() if r.cell.task == task and r.status == "ok"]
    if not good:
        return
    yield (
        f"{task}-curves",
        f"{task}: task loss and gradient norm over the optimizer steps, by method",
        _curves(results, good),
    )
    yield f"{task}-score", f"{task}: score against adapter parameters, by method and budget", _score(results, task)
    for record in map(results.full, (r.cell.id for r in good)):
        if len({site.end for site in record.ranks.values()}) > 1 and record.cell.seed == good[0].cell.seed:
            name = f"{task}-ranks-{record.cell.method}-{record.cell.budget}"
            yield name, f"{record.cell.id}: rank of every matrix at the start and at the end", _ranks(record)


def _curves(results: Results, records: list[Record]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.8))
    axes = figure.subplots(1, 2)
    methods = list(dict.fromkeys(cell.method.name for cell in results.study.cells))
    budgets = list(dict.fromkeys(cell.budget_name for cell in results.study.cells))
    labels = {cell.method.name: cell.method.label for cell in results.study.cells}
    first = min(record.cell.seed for record in records)
    for record in (r for r in records if r.cell.seed == first):
        lines = read_curve(results, record)
        look = {
            "color": COLOURS[methods.index(record.cell.method) % len(COLOURS)],
            "linestyle": ["-", "--", ":", "-."][budgets.index(record.cell.budget) % 4],
            "label": f"{labels[record.cell.method]}, {record.cell.budget}",
            "linewidth": 1,
        }
        for axis, key in zip(axes, ("loss", "gradient_norm"), strict=True):
            axis.plot([x["step"] for x in lines], _smooth([x[key] or 0.0 for x in lines]), **look)
    for axis, name in zip(axes, ("task loss (running mean)", "gradient norm (running mean)"), strict=True):
        axis.set(xlabel="optimizer step", ylabel=name)
    axes[1].legend(fontsize=6, frameon=False)
    figure.suptitle(f"{records[0].cell.task}, seed {first}", fontsize=9)
    return figure


def _smooth(numbers: list[float]) -> list[float]:
    """Exponential running mean, started at the first value."""
    out: list[float] = []
    for number in numbers:
        out.append(number if not out else 0.9 * out[-1] + 0.1 * number)
    return out


def _score(results: Results, task: str) -> Figure:
    from matplotlib.figure import Figure

    cell = next(c for c in results.study.cells if c.task.name == task)
    figure = Figure(figsize=(4.5, 3))
    axis = figure.subplots()
    for index, method in enumerate(dict.fromkeys(c.method.name for c in results.study.cells)):
        points = []
        for budget in dict.fromkeys(c.budget_name for c in results.study.cells):
            records = [r for r in results.of(task, method, budget) if r.status == "ok"]
            scores = [100 * value for value in values(records, cell.task.primary_split, cell.task.metric)]
            sizes = [r.parameters.adapter_end for r in records if r.parameters]
            if scores and sizes:
                points.append((mean(sizes), mean(scores), stdev(scores) if len(scores) > 1 else 0.0))
        if points:
            label = next(c.method.label for c in results.study.cells if c.method.name == method)
            x, y, spread = zip(*sorted(points), strict=True)
            axis.errorbar(
                x, y, yerr=spread, label=label,
                color=COLOURS[index % len(COLOURS)], marker=MARKERS[index % len(MARKERS)],
                linewidth=1, capsize=2, markersize=5,
            )  # fmt: skip
    axis.set(
        xlabel="adapter parameters at the end",
        ylabel=f"{METRIC_NAMES[cell.task.metric]} × 100",
        title=task,
        xscale="log",
    )
    axis.legend(fontsize=7, frameon=False)
    return figure


def _ranks(record: Record) -> Figure:
    from matplotlib.figure import Figure

    order = record.spec["backbone"]["matrices"]
    keys = {
        name: (s.stack.rsplit(".", 2)[-2:][0], order.index(s.matrix), _inner(name)) for name, s in record.ranks.items()
    }
    rows = sorted(set(keys.values()))
    layers = sorted({s.layer for s in record.ranks.values() if s.layer is not None})
    top = max(site.start for site in record.ranks.values())
    figure = Figure(figsize=(7, 1 + 0.28 * len(rows)))
    axes = figure.subplots(1, 2, sharey=True)
    image = None
    for axis, moment in zip(axes, ("start", "end"), strict=True):
        grid = [[float("nan")] * len(layers) for _ in rows]
        for name, site in record.ranks.items():
            if site.layer is not None:
                grid[rows.index(keys[name])][layers.index(site.layer)] = getattr(site, moment)
        image = axis.imshow(grid, cmap="cividis", vmin=0, vmax=top, aspect="auto")
        for i, line in enumerate(grid):
            for j, value in enumerate(line):
                if value == value:
                    colour = "black" if value > top / 2 else "white"
                    axis.text(j, i, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=7)
        axis.set(xticks=range(len(layers)), xticklabels=layers, xlabel="layer", title=f"rank at the {moment}")
        axis.grid(visible=False)
    labels = [" ".join(part for part in (stack, inner, order[matrix]) if part) for stack, matrix, inner in rows]
    axes[0].set(yticks=range(len(rows)), yticklabels=labels)
    assert image is not None  # there are two axes
    figure.colorbar(image, ax=axes, label="rank")
    return figure


def _inner(name: str) -> str:
    """What tells two matrices of one layer and suffix apart: self-attention from cross-attention."""
    return "cross" if "encoder_attn" in name else ""
