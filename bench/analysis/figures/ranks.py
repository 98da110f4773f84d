"""Where the ranks went: heat maps of adapted matrix by layer, from the first step of a training to the last."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from bench.analysis.figures.style import live_ranks, read_curve
from bench.analysis.results import Results
from bench.records.schema import Record, SiteRank

MAX_PANELS = 4
RowKey = tuple[str, int, str]  # stack, place of the matrix among the backbone's, kind of attention


def ranks_differ(record: Record) -> bool:
    """Whether the matrices of a full record ended with different ranks."""
    return len({site.end for site in record.ranks.values()}) > 1


def rank_figure(results: Results, record: Record) -> Figure:
    """The first ranks, the last, and up to two moments between them, one panel each. `record` is a full record."""
    matrices: list[str] = record.spec["backbone"]["matrices"]
    row_keys = {name: _row_key(name, site, matrices) for name, site in record.ranks.items()}
    rows = sorted(set(row_keys.values()))
    layers = sorted({site.layer for site in record.ranks.values() if site.layer is not None})
    moments = _moments(results, record)
    # One color scale for all panels, so that they can be compared.
    largest = max(max(ranks.values()) for _, ranks in moments)
    figure = Figure(figsize=(1.4 + (1.1 + 0.18 * len(layers)) * len(moments), 1 + 0.28 * len(rows)))
    axes = figure.subplots(1, len(moments), sharey=True, squeeze=False)[0]
    image = None
    for axis, (step, ranks) in zip(axes, moments, strict=True):
        grid = [[math.nan] * len(layers) for _ in rows]
        for name, site in record.ranks.items():
            if site.layer is not None:
                grid[rows.index(row_keys[name])][layers.index(site.layer)] = ranks[name]
        image = axis.imshow(grid, cmap="cividis", vmin=0, vmax=largest, aspect="auto")
        _write_ranks(axis, grid, largest)
        axis.set(xticks=range(len(layers)), xticklabels=layers, xlabel="layer", title=f"step {step}")
        axis.grid(visible=False)  # the style's grid lines would cross the squares
    labels = [" ".join(part for part in (stack, attention, matrices[m]) if part) for stack, m, attention in rows]
    axes[0].set(yticks=range(len(rows)), yticklabels=labels)
    assert image is not None  # there is at least one panel
    figure.colorbar(image, ax=list(axes), label="rank")
    figure.suptitle(results.name_of(record.cell), fontsize=9)
    return figure


def _row_key(name: str, site: SiteRank, matrices: Sequence[str]) -> RowKey:
    """Sorts rows by stack (encoder, decoder) and by the backbone's order of matrices."""
    stack = site.stack.rsplit(".", 2)[-2:][0]
    # A decoder layer has two matrices of the same name: one in self-attention and one in cross-attention.
    return stack, matrices.index(site.matrix), "cross" if "encoder_attn" in name else ""


def _moments(results: Results, record: Record) -> list[tuple[int, dict[str, int]]]:
    """Step and rank by matrix: evenly from the first to the last in the curve; start and end without a curve."""
    recorded = live_ranks(read_curve(results, record.cell.id))
    # Old records do not say which column of `live_ranks` belongs to which matrix.
    columns = {name: site.index for name, site in record.ranks.items() if site.index is not None}
    if len(recorded) < 2 or len(columns) < len(record.ranks):
        steps = record.training.steps if record.training else 0
        start = {name: site.start for name, site in record.ranks.items()}
        end = {name: site.end for name, site in record.ranks.items()}
        return [(0, start), (steps, end)]
    panels = min(MAX_PANELS, len(recorded))
    chosen = [recorded[round(panel * (len(recorded) - 1) / (panels - 1))] for panel in range(panels)]
    return [(step, {name: ranks[column] for name, column in columns.items()}) for step, ranks in chosen]


def _write_ranks(axis: Any, grid: Sequence[Sequence[float]], largest: int) -> None:
    """Write each rank into its square, in black or white, whichever can be read there."""
    for i, row in enumerate(grid):
        for j, rank in enumerate(row):
            if not math.isnan(rank):
                text_color = "black" if rank > largest / 2 else "white"
                axis.text(j, i, f"{rank:.0f}", ha="center", va="center", color=text_color, fontsize=6)
