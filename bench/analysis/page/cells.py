"""The page's section for each cell: scores and cost, spec, curve, ranks, environment, last lines of a failure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.analysis.figures.style import read_curve
from bench.analysis.results import Results
from bench.analysis.wording import METRIC_NAMES, MIB
from bench.records.schema import Record

WIDTH, HEIGHT, POINTS = 300, 60, 120


@dataclass(frozen=True)
class CellSection:
    """facts: name and value; parts: heading and text; curve: points of a polyline in WIDTH x HEIGHT, and its ends."""

    id: str
    status: str
    facts: tuple[tuple[str, str], ...] = ()
    parts: tuple[tuple[str, str], ...] = ()
    curve: str = ""
    curve_text: str = ""
    ranks: tuple[tuple[str, str], ...] = field(default=())


def cell_section(results: Results, name: str) -> CellSection:
    """Of the cell called `name`; of a missing one the name alone."""
    if name not in results.records:
        return CellSection(name, "missing")
    record = results.full(name)
    losses = [x["loss"] for x in read_curve(results, record) if x["loss"] is not None]
    text = f"task loss over {len(losses)} steps: first {losses[0]:.4g}, last {losses[-1]:.4g}" if losses else ""
    parts = [("recipe", _json(record.spec.get("recipe", {}))), ("method", _json(record.spec.get("method", {}))),
             ("environment", _json(record.environment)), ("data", _json(record.data))]  # fmt: skip
    if record.message:
        parts.insert(0, ("what went wrong", "\n".join([record.message, *record.log_tail])))
    if record.notes:
        parts.insert(0, ("notes", "\n".join(record.notes)))
    ranks = tuple((site, f"{rank.start} → {rank.end}") for site, rank in record.ranks.items() if rank.start != rank.end)
    return CellSection(name, record.status, _facts(record), tuple(parts), _points(losses), text, ranks)


def _facts(record: Record) -> tuple[tuple[str, str], ...]:
    found = [
        (f"{METRIC_NAMES.get(metric, metric)}, {split}", "undefined" if value is None else f"{100 * value:.2f}")
        for split, at in record.metrics.items()
        for metric, value in at[record.selection].items()
    ]
    if record.parameters:
        use = record.parameters.budget
        found.append(("adapter parameters", f"{record.parameters.adapter_end:,}"))
        found.append(("head parameters", f"{record.parameters.head:,}"))
        found.append(("kept of budget", f"{use.used:,} of {use.limit:,} {use.unit}"))
    if record.bytes:
        found.append(("peak memory", f"{record.bytes.peak.peak / MIB:,.0f} MiB"))
    if record.training:
        seconds = record.training.seconds
        found.append(("steps", f"{record.training.steps:,}"))
        found.append(("training", f"{seconds.training:.1f} s of {seconds.total:.1f} s"))
    return tuple(found)


def _points(losses: Sequence[float]) -> str:
    """At most POINTS means of neighboring steps, scaled into the box."""
    if len(losses) < 2:
        return ""
    size = -(-len(losses) // POINTS)
    means = [sum(part) / len(part) for part in (losses[i : i + size] for i in range(0, len(losses), size))]
    low, high = min(means), max(means)
    scale = (HEIGHT - 4) / (high - low) if high > low else 0.0
    step = WIDTH / max(1, len(means) - 1)
    return " ".join(f"{i * step:.1f},{HEIGHT - 2 - (m - low) * scale:.1f}" for i, m in enumerate(means))


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True)
