"""The plan as a table on a terminal, with its totals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

MIB = 1024**2
HOUR = 3600
COLUMNS = ("cell", "steps", "adapter start", "adapter end", "heads", "base MiB", "optimizer MiB", "importance MiB",
           "peak MiB", "hours")  # fmt: skip


def show_plan(rows: Sequence[dict[str, Any]]) -> str:
    """A line a cell, then totals. Peak: allocated on a GPU; on the CPU what training adds to the loaded model."""
    lines = [COLUMNS, *(_line(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS))]
    text = []
    for line in lines:
        first, *rest = line
        text.append("  ".join([first.ljust(widths[0]), *(t.rjust(w) for t, w in zip(rest, widths[1:], strict=True))]))
    return "\n".join([*text, *_totals(rows)])


def _totals(rows: Sequence[dict[str, Any]]) -> list[str]:
    if not rows:
        return ["0 cells"]
    known = [row["seconds"] for row in rows if row["seconds"] is not None]
    done = [row["taken_seconds"] for row in rows if row["taken_seconds"] is not None]
    left = sum(row["seconds"] for row in rows if row["seconds"] is not None and row["taken_seconds"] is None)
    device, source = rows[0]["predicted_peak"]["device"], {row["batch"]["from"] for row in rows}
    what = "allocated" if device == "cuda" else "growth over the loaded model"
    lines = [
        f"{len(rows)} cells; disk {sum(row['disk_bytes'] for row in rows) / MIB:,.1f} MiB (prepared data, models and "
        "checkpoints apart)",
        f"peak: predicted for {device}, {what}, for the largest batch by {' or '.join(sorted(source))}",
    ]
    finished = f"done: {len(done)} cells in {sum(done) / HOUR:,.2f} hours"
    if not known:
        lines.append("run time unknown: no records of cells like these below --results")
        return [*lines, finished] if done else lines
    devices = {row["seconds_from"]["device"] for row in rows if row["seconds_from"]}
    time = f"run time {sum(known) / HOUR:,.2f} hours for {len(known)} cells (one GPU or core each), by records of "
    lines.append(time + ", ".join(sorted(devices)))
    if len(known) < len(rows):
        lines.append(f"run time unknown for {len(rows) - len(known)} cells")
    if done:
        lines.append(f"{finished}; left: {left / HOUR:,.2f} hours")
    return lines


def _line(row: dict[str, Any]) -> tuple[str, ...]:
    low, high = row["adapter_parameters_end"]
    peak = row["predicted_peak"]
    return (
        row["cell"],
        "unknown" if row["steps"] is None else f"{row['steps']:,}",
        f"{row['adapter_parameters_start']:,}",
        f"{high:,}" if low == high else f"{low:,} to {high:,}",
        f"{sum(row['head_parameters'].values()):,}",
        f"{sum(row['base_bytes'].values()) / MIB:.2f}",
        f"{row['optimizer_bytes'] / MIB:.2f}",
        f"{row['importance_bytes'] / MIB:.2f}",
        f"{peak['total_bytes' if peak['device'] == 'cuda' else 'growth_bytes'] / MIB:,.1f}",
        "unknown" if row["seconds"] is None else f"{row['seconds'] / HOUR:,.3f}",
    )
