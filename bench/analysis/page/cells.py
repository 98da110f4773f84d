"""The page's section for each cell: scores and cost, spec, loss curve, ranks, environment, and how it failed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.analysis.figures.style import read_curve
from bench.analysis.results import Results
from bench.analysis.wording import MIB, metric_name, number_text
from bench.records.schema import Record

WIDTH, HEIGHT = 300, 60  # of the loss curve in its SVG, as page.html draws it
MAX_POINTS = 120  # of the loss curve: a study of 500 cells must stay a page of a few MB


@dataclass(frozen=True)
class CellSection:
    """What page.html shows of a cell.

    Attributes:
        facts: name and value.
        parts: heading and preformatted text.
        curve: the points of an SVG polyline in a box of WIDTH x HEIGHT; empty without a curve.
        curve_text: the same in words.
        ranks: matrix and "start → end", for the matrices whose rank changed.
    """

    id: str
    status: str
    facts: tuple[tuple[str, str], ...] = ()
    parts: tuple[tuple[str, str], ...] = ()
    curve: str = ""
    curve_text: str = ""
    ranks: tuple[tuple[str, str], ...] = ()


def cell_section(results: Results, cell_id: str) -> CellSection:
    """The section of a cell; of a missing one only its id."""
    if cell_id not in results.records:
        return CellSection(cell_id, "missing")
    record = results.full_record(cell_id)
    losses = [line["loss"] for line in read_curve(results, cell_id) if line["loss"] is not None]
    curve_text = ""
    if losses:
        curve_text = f"task loss over {len(losses)} steps: first {losses[0]:z.4g}, last {losses[-1]:z.4g}"
    changed = {name: site for name, site in record.ranks.items() if site.start != site.end}
    return CellSection(
        id=cell_id,
        status=record.status,
        facts=_facts(record),
        parts=_parts(record),
        curve=_polyline(losses),
        curve_text=curve_text,
        ranks=tuple((name, f"{site.start} → {site.end}") for name, site in changed.items()),
    )


def _facts(record: Record) -> tuple[tuple[str, str], ...]:
    facts = [
        (f"{metric_name(metric)}, {split}", "undefined" if value is None else number_text(100 * value))
        for split, by_selection in record.metrics.items()
        for metric, value in by_selection[record.selection].items()
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


def _parts(record: Record) -> tuple[tuple[str, str], ...]:
    """What deserves attention first, then the spec and the environment."""
    parts = []
    if record.notes:
        parts.append(("notes", "\n".join(record.notes)))
    if record.message:
        parts.append(("what went wrong", "\n".join([record.message, *record.log_tail])))
    choice = record.spec.get("choice")
    if choice:
        parts.append(("tuned values, what they were chosen by, and the trials", _json(choice)))
    parts.append(("recipe", _json(record.spec.get("recipe", {}))))
    parts.append(("method", _json(record.spec.get("method", {}))))
    parts.append(("environment", _json(record.environment)))
    parts.append(("data", _json(record.data)))
    return tuple(parts)


def _polyline(losses: Sequence[float]) -> str:
    """Means of neighboring steps, scaled to fill the box; SVG counts y from the top."""
    if len(losses) < 2:
        return ""
    size = -(-len(losses) // MAX_POINTS)  # rounded up
    chunks = [losses[start : start + size] for start in range(0, len(losses), size)]
    means = [sum(chunk) / len(chunk) for chunk in chunks]
    low, high = min(means), max(means)
    x_scale = WIDTH / max(1, len(means) - 1)
    y_scale = (HEIGHT - 4) / (high - low) if high > low else 0.0
    return " ".join(f"{i * x_scale:.1f},{HEIGHT - 2 - (value - low) * y_scale:.1f}" for i, value in enumerate(means))


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True)
