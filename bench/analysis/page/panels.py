"""Small figures that the page shows side by side, each in a light and a dark version."""

from __future__ import annotations

import base64
import io
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.analysis.figures.differences import difference_panel, tasks_with_differences
from bench.analysis.figures.patterns import SIDES, pattern_panel, tasks_with_patterns
from bench.analysis.figures.style import DARK, MARKERS, STYLE, color, marker
from bench.analysis.figures.trade_off import COSTS, trade_off_panel
from bench.analysis.results import Results
from bench.analysis.verdicts import Verdict

DPI = 180
PIXELS = 1.9  # of the picture per pixel of the page, since screens are dense
SIGNS = dict(zip(MARKERS, "●■▲◆▼✚✖", strict=True))  # of matplotlib's markers


@dataclass(frozen=True)
class Panel:
    """A small figure.

    Attributes:
        task: its label.
        text: what is said in place of the picture.
        light, dark: PNG in base64.
        width, height: in pixels of the page.
    """

    task: str
    text: str
    light: str
    dark: str
    width: int
    height: int


@dataclass(frozen=True)
class LegendEntry:
    label: str
    color: str
    sign: str


def difference_panels(results: Results, found: Sequence[Verdict]) -> Iterator[Panel]:
    """One per task: the differences in `found` with their intervals."""
    for task in tasks_with_differences(results, found):
        label, metric = results.task_labels[task], _metric(results, task)
        text = f"{label}: paired differences in {metric} with 95% intervals, by method and budget"
        yield _panel(label, text, partial(difference_panel, results, task, found))


def cost_panels(results: Results) -> Iterator[Panel]:
    """Two per task with a score: the score against parameters and against peak memory."""
    scored = {record.cell.task for record in results.records.values() if record.status == "ok"}
    for task in (task for task in results.tasks if task in scored):
        label = results.task_labels[task]
        for cost in COSTS:
            text = f"{label}: {_metric(results, task)} against {cost.name}, by method and budget"
            yield _panel(label, text, partial(trade_off_panel, results, task, cost))


def pattern_panels(results: Results) -> Iterator[Panel]:
    """Two per task with different ranks: the mean final rank by role of the matrix and by layer."""
    for task in tasks_with_patterns(results):
        label = results.task_labels[task]
        for side in SIDES:
            text = f"{label}: mean final rank of the matrices by {side.name}, by method and budget"
            yield _panel(label, text, partial(pattern_panel, results, task, side))


def _metric(results: Results, task: str) -> str:
    spec = results.tasks[task]
    return spec.metric_facts(spec.metric).name


def legend(results: Results) -> list[LegendEntry]:
    """The methods with their color and marker in all panels."""
    return [
        LegendEntry(label, color(number), SIGNS[marker(number)]) for number, label in enumerate(results.labels.values())
    ]


def png_base64(figure: Figure, dpi: int = 110) -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dpi, metadata={"Software": None})
    return base64.b64encode(stream.getvalue()).decode()


def _panel(task: str, text: str, draw: Callable[[], Figure]) -> Panel:
    pictures = []
    for style in (STYLE, {**STYLE, **DARK}):
        with mpl.rc_context(style):  # read at drawing and at saving
            pictures.append(png_base64(draw(), DPI))
    width, height = struct.unpack(">II", base64.b64decode(pictures[0])[16:24])  # of a PNG's header
    return Panel(task, text, pictures[0], pictures[1], round(width / PIXELS), round(height / PIXELS))
