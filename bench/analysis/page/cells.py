"""The page's section for each cell: scores and cost, loss and ranks over time, spec, environment, and how it failed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from bench.analysis.figures.style import live_ranks, read_curve
from bench.analysis.results import Results
from bench.analysis.wording import MIB, metric_text
from bench.config.cell import Cell
from bench.config.task import Task
from bench.records.schema import Record

WIDTH, HEIGHT = 300, 60  # of a chart in its SVG, as page.html draws it
MAX_POINTS = 120  # of a chart: a study of 500 cells must stay a page of a few MB


@dataclass(frozen=True)
class Chart:
    """`points`: of an SVG polyline in a box of WIDTH x HEIGHT; `text`: the same in words."""

    points: str
    text: str


@dataclass(frozen=True)
class Part:
    """Preformatted text under a name; `open`: whether it is shown at once."""

    name: str
    text: str
    open: bool = False


@dataclass(frozen=True)
class CellSection:
    """What page.html shows of a cell.

    Attributes:
        name, task, method: as readers know them.
        facts: name and value.
        ranks: matrix and "start → end", for the matrices whose rank changed.
    """

    id: str
    name: str
    task: str
    method: str
    budget: str
    status: str
    facts: tuple[tuple[str, str], ...] = ()
    parts: tuple[Part, ...] = ()
    charts: tuple[Chart, ...] = ()
    ranks: tuple[tuple[str, str], ...] = ()


def cell_section(results: Results, cell: Cell) -> CellSection:
    """The section of a cell; of a missing one only its names."""
    name = f"{cell.task.label}, {cell.method.label}, {cell.budget_name}, seed {cell.seed}"
    names = (cell.id, name, cell.task.label, cell.method.label, cell.budget_name)
    if cell.id not in results.records:
        return CellSection(*names, "missing")
    record = results.full_record(cell.id)
    changed = {matrix: site for matrix, site in record.ranks.items() if site.start != site.end}
    return CellSection(
        *names,
        record.status,
        facts=_facts(cell.task, record),
        parts=_parts(record),
        charts=tuple(_charts(read_curve(results, cell.id))),
        ranks=tuple((matrix, f"{site.start} → {site.end}") for matrix, site in changed.items()),
    )


def _charts(curve: list[dict[str, Any]]) -> Iterator[Chart]:
    """The task loss over the steps, and the live ranks of all matrices where these change."""
    losses = [line["loss"] for line in curve if line["loss"] is not None]
    if len(losses) > 1:
        size = -(-len(losses) // MAX_POINTS)  # rounded up
        chunks = [losses[start : start + size] for start in range(0, len(losses), size)]
        means = [(number, sum(chunk) / len(chunk)) for number, chunk in enumerate(chunks)]
        text = f"task loss over {len(losses)} steps: first {losses[0]:z.4g}, last {losses[-1]:z.4g}"
        yield Chart(_polyline(means), text)
    totals = [(step, sum(ranks)) for step, ranks in live_ranks(curve)]
    if len({total for _, total in totals}) > 1:
        shown = totals[:: -(-len(totals) // MAX_POINTS)]
        steps = [shown[0]]
        for (_, before), (step, after) in pairwise(shown):
            steps += [(step, before), (step, after)]
        steps.append((curve[-1]["step"], totals[-1][1]))  # up to the last step
        text = f"live ranks of all matrices: {totals[0][1]} at step {totals[0][0]}, {totals[-1][1]} at the end"
        yield Chart(_polyline(steps, zero=True), text)


def _facts(task: Task, record: Record) -> tuple[tuple[str, str], ...]:
    facts = [
        (f"{of.label}, {split}", "undefined" if value is None else metric_text(of, value))
        for split, by_selection in record.metrics.items()
        for of, value in (
            (task.metric_facts(metric), value) for metric, value in by_selection[record.selection].items()
        )
    ]
    if record.parameters:
        budget = record.parameters.budget
        facts.append(("adapter parameters", f"{record.parameters.adapter_end:,}"))
        facts.append(("head parameters", f"{record.parameters.head:,}"))
        facts.append(("budget used", f"{budget.used:,} of {budget.limit:,} {budget.unit}"))
    if record.bytes:
        facts.append(("peak memory", f"{record.bytes.peak.peak / MIB:,.0f} MiB"))
    if record.training:
        seconds = record.training.seconds
        facts.append(("steps", f"{record.training.steps:,}"))
        facts.append(("training", f"{seconds.training:.1f} s of {seconds.total:.1f} s"))
    return tuple(facts)


def _parts(record: Record) -> tuple[Part, ...]:
    """What deserves attention first, as the last lines of the log of a failure, then the spec and the environment."""
    parts = []
    if record.notes:
        parts.append(Part("notes", "\n".join(record.notes), open=True))
    if record.message:
        parts.append(
            Part(
                "what went wrong, and the last lines of the log",
                "\n".join([record.message, *record.log_tail]),
                open=True,
            )
        )
    choice = record.spec.get("choice")
    if choice:
        parts.append(Part("tuned values, what they were chosen by, and the trials", _json(choice)))
    parts.append(Part("recipe", _json(record.spec.get("recipe", {}))))
    parts.append(Part("method", _json(record.spec.get("method", {}))))
    parts.append(Part("environment", _json(record.environment)))
    parts.append(Part("data", _json(record.data)))
    return tuple(parts)


def _polyline(points: Sequence[tuple[float, float]], *, zero: bool = False) -> str:
    """Scaled to fill the box, with `zero` from zero up; SVG counts y from the top."""
    left, right = points[0][0], points[-1][0]
    values = [value for _, value in points]
    low, high = 0.0 if zero else min(values), max(values)
    x_scale = WIDTH / (right - left) if right > left else 0.0
    y_scale = (HEIGHT - 4) / (high - low) if high > low else 0.0
    return " ".join(f"{(x - left) * x_scale:.1f},{HEIGHT - 2 - (value - low) * y_scale:.1f}" for x, value in points)


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True)
