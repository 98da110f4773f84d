"""What all figures share: colors, markers and style, the curves that they read, and how they are written to disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.analysis.results import Results
from bench.records import io

# Okabe and Ito's palette, which people with any kind of color vision can tell apart, with gray in place of its black,
# which a dark page would hide.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
MARKERS = "os^DvPX"
STYLE: Any = {
    "svg.hashsalt": "rankbench",  # fixed, so that equal figures have equal ids in their SVG
    "text.parse_math": False,  # a dollar in a label is one
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "figure.constrained_layout.use": True,
}
# Laid over STYLE for a dark page.
DARK: Any = {
    "figure.facecolor": "#16181c",
    "savefig.facecolor": "#16181c",
    "axes.facecolor": "#16181c",
    "axes.edgecolor": "#b0b4ba",
    "axes.labelcolor": "#e8e8e8",
    "text.color": "#e8e8e8",
    "xtick.color": "#e8e8e8",
    "ytick.color": "#e8e8e8",
    "grid.color": "#b0b4ba",
}


def color(index: int) -> str:
    return COLORS[index % len(COLORS)]


def marker(index: int) -> str:
    # One further with each round of the colors, so that no two of many methods look alike.
    return MARKERS[(index + index // len(COLORS)) % len(MARKERS)]


def shared_legend(figure: Figure) -> None:
    """One legend beside all panels, with every label once."""
    entries: dict[str, Any] = {}
    for axis in figure.axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    figure.legend(list(entries.values()), list(entries), fontsize=7, frameon=False, loc="outside right upper")


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as SVG (for print) and PNG (150 dpi), without a date: equal records give equal files."""
    folder.mkdir(parents=True, exist_ok=True)
    # The style is applied at saving as well, since matplotlib reads part of it only then.
    svg, png = folder / f"{name}.svg", folder / f"{name}.png"
    with mpl.rc_context(STYLE):
        figure.savefig(svg, metadata={"Date": None})
        figure.savefig(png, dpi=150, metadata={"Software": None})
    return [svg, png]


def read_curve(results: Results, cell_id: str) -> list[dict[str, Any]]:
    """The lines of a cell's curve.jsonl, one per optimizer step; empty if there is no such file."""
    return io.read_curve(results.paths.cell(cell_id).curve)


def live_ranks(curve: list[dict[str, Any]]) -> list[tuple[int, list[int]]]:
    """Optimizer step and rank of every matrix, for the steps at which the curve holds them."""
    return [(line["step"], line["live_ranks"]) for line in curve if line.get("live_ranks")]
