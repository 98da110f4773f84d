"""Where the ranks went: heat maps of matrix by layer, from the first step of a training to the last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bench.analysis.figures.style import read_curve
from bench.analysis.results import Results
from bench.records.schema import Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS = 4


def moved(record: Record) -> bool:
    """Whether a full record's matrices ended with unlike ranks."""
    return len({site.end for site in record.ranks.values()}) > 1


def rank_figure(results: Results, record: Record) -> Figure:
    """The first ranks, the last, and two moments between them. `record` is a full one."""
    from matplotlib.figure import Figure

    order = record.spec["backbone"]["matrices"]
    keys = {
        name: (s.stack.rsplit(".", 2)[-2:][0], order.index(s.matrix), _inner(name)) for name, s in record.ranks.items()
    }
    rows = sorted(set(keys.values()))
    layers = sorted({s.layer for s in record.ranks.values() if s.layer is not None})
    moments = _moments(results, record)
    top = max(max(ranks.values()) for _, ranks in moments)
    figure = Figure(figsize=(1.4 + (1.1 + 0.18 * len(layers)) * len(moments), 1 + 0.28 * len(rows)))
    axes = figure.subplots(1, len(moments), sharey=True, squeeze=False)[0]
    image = None
    for axis, (step, ranks) in zip(axes, moments, strict=True):
        grid = [[float("nan")] * len(layers) for _ in rows]
        for name, site in record.ranks.items():
            if site.layer is not None:
                grid[rows.index(keys[name])][layers.index(site.layer)] = ranks[name]
        image = axis.imshow(grid, cmap="cividis", vmin=0, vmax=top, aspect="auto")
        _write(axis, grid, top)
        axis.set(xticks=range(len(layers)), xticklabels=layers, xlabel="layer", title=f"step {step}")
        axis.grid(visible=False)
    labels = [" ".join(part for part in (stack, inner, order[matrix]) if part) for stack, matrix, inner in rows]
    axes[0].set(yticks=range(len(rows)), yticklabels=labels)
    assert image is not None  # there is at least one panel
    figure.colorbar(image, ax=list(axes), label="rank")
    figure.suptitle(record.cell.id, fontsize=9)
    return figure


def _moments(results: Results, record: Record) -> list[tuple[int, dict[str, int]]]:
    """Steps and ranks by matrix: where they were told first, last, and evenly between; the ends without a curve."""
    told = [(x["step"], x["live_ranks"]) for x in read_curve(results, record) if "live_ranks" in x]
    places = {name: site.index for name, site in record.ranks.items() if site.index is not None}
    if len(told) < 2 or len(places) < len(record.ranks):
        steps = record.training.steps if record.training else 0
        return [
            (0, {n: s.start for n, s in record.ranks.items()}),
            (steps, {n: s.end for n, s in record.ranks.items()}),
        ]
    count = min(PANELS, len(told))
    chosen = [told[round(k * (len(told) - 1) / (count - 1))] for k in range(count)]
    return [(step, {name: ranks[place] for name, place in places.items()}) for step, ranks in chosen]


def _write(axis: Any, grid: Sequence[Sequence[float]], top: int) -> None:
    for i, line in enumerate(grid):
        for j, value in enumerate(line):
            if value == value:
                color = "black" if value > top / 2 else "white"
                axis.text(j, i, f"{value:.0f}", ha="center", va="center", color=color, fontsize=6)


def _inner(name: str) -> str:
    """What tells two matrices of one layer and suffix apart: self-attention from cross-attention."""
    return "cross" if "encoder_attn" in name else ""
