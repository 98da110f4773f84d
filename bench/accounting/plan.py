"""The plan of a study: what every cell will hold, before any GPU hour is spent."""

from __future__ import annotations

import json
from typing import Any

from bench.accounting.predict import predict
from bench.spec.cell import Cell
from bench.spec.resolve import ResolvedStudy

MIB = 1024**2
COLUMNS = ("cell", "steps", "adapter start", "adapter end", "heads", "base MiB", "optimizer MiB", "importance MiB")


def plan(study: ResolvedStudy) -> list[dict[str, Any]]:
    """A row a cell, in bytes and parameters. steps: None where the task's file doesn't declare its rows; seconds: None,
    since nothing is known of a machine before its first records. Raises BenchError."""
    known: dict[str, dict[str, Any]] = {}
    rows = []
    for cell in study.cells:
        same = cell.model_copy(update={"seed": 0}).spec_hash
        if same not in known:
            known[same] = _row(cell)
        rows.append({"cell": cell.id, **known[same]})
    return rows


def print_plan(study: ResolvedStudy, *, as_json: bool = False) -> None:
    rows = plan(study)
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    lines = [COLUMNS, *(_line(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS))]
    for line in lines:
        first, *rest = line
        print("  ".join([first.ljust(widths[0]), *(t.rjust(w) for t, w in zip(rest, widths[1:], strict=True))]))
    print(f"{len(rows)} cells; run time unknown: no records of this machine were given")


def _row(cell: Cell) -> dict[str, Any]:
    predicted = predict(cell)
    schedule = predicted.schedule
    return {
        "steps": schedule.total_steps if schedule else None,
        "budget": {"unit": cell.method.unit, "limit": schedule.target_budget if schedule else None},
        "adapter_parameters_start": predicted.adapter_start,
        "adapter_parameters_end": list(predicted.adapter_end),
        "head_parameters": predicted.head,
        "total_parameters": predicted.total,
        "base_bytes": predicted.base.model_dump(),
        "gradient_bytes": predicted.gradients,
        "optimizer_bytes": predicted.optimizer,
        "importance_bytes": predicted.importance,
        "seconds": None,
    }


def _line(row: dict[str, Any]) -> tuple[str, ...]:
    low, high = row["adapter_parameters_end"]
    return (
        row["cell"],
        "unknown" if row["steps"] is None else f"{row['steps']:,}",
        f"{row['adapter_parameters_start']:,}",
        f"{high:,}" if low == high else f"{low:,} to {high:,}",
        f"{sum(row['head_parameters'].values()):,}",
        f"{sum(row['base_bytes'].values()) / MIB:.2f}",
        f"{row['optimizer_bytes'] / MIB:.2f}",
        f"{row['importance_bytes'] / MIB:.2f}",
    )
