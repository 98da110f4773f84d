"""What all figures share: colors, markers, style, the curves they read, and how they are written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl

from bench.analysis.results import Results
from bench.records import io
from bench.records.schema import Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colors, told apart by every kind of color vision
COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
MARKERS = "os^DvPX"
STYLE: Any = {"svg.hashsalt": "rankbench", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
         "axes.grid": True, "grid.alpha": 0.3, "figure.constrained_layout.use": True}  # fmt: skip


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """As SVG (for print) and PNG (150 dpi), with no date in them: equal records give equal files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{name}.svg", folder / f"{name}.png"]
    with mpl.rc_context(STYLE):
        figure.savefig(files[0], metadata={"Date": None})
        figure.savefig(files[1], dpi=150, metadata={"Software": None})
    return files


def read_curve(results: Results, record: Record) -> list[dict[str, Any]]:
    """The lines of a cell's curve.jsonl, none where there is no file."""
    return io.read_curve(results.paths.cell(record.cell.id).curve)
