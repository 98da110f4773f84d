"""The plan as a table for the terminal, with totals below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

MIB = 1024**2
HOUR = 3600
COLUMNS = (
    "cell",
    "steps",
    "adapter start",
    "adapter end",
    "heads",
    "base MiB",
    "optimizer MiB",
    "importance MiB",
    "peak MiB",
    "hours",
)


def show_plan(rows: Sequence[dict[str, Any]]) -> str:
    """The rows that `plan` returns as text: one line per cell, then totals.

    The peak is what is allocated on a GPU, or what training adds to the loaded model on the CPU.
    """
    lines = [COLUMNS, *(_line(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    text = []
    for cell, *numbers in lines:
        aligned = [number.rjust(width) for number, width in zip(numbers, widths[1:], strict=True)]
        text.append("  ".join([cell.ljust(widths[0]), *aligned]))
    return "\n".join([*text, *_totals(rows)])


def _line(row: dict[str, Any]) -> tuple[str, ...]:
    """One cell's columns, in the order of COLUMNS."""
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
        _peak_mib(row["predicted_peak"]),
        "unknown" if row["seconds"] is None else f"{row['seconds'] / HOUR:,.3f}",
    )


def _peak_mib(peak: dict[str, Any]) -> str:
    if "unknown" in peak:
        return "unknown"
    return f"{peak['total_bytes' if peak['device'] == 'cuda' else 'growth_bytes'] / MIB:,.1f}"


def _totals(rows: Sequence[dict[str, Any]]) -> list[str]:
    if not rows:
        return ["0 cells"]
    device, sources = rows[0]["predicted_peak"]["device"], {row["batch"]["from"] for row in rows}
    unpacked = sorted({name for row in rows for name in row["unpacked_parameters"]})
    peak = "allocated" if device == "cuda" else "growth over the loaded model"
    return [
        f"{len(rows)} cells; disk {sum(row['disk_bytes'] for row in rows) / MIB:,.1f} MiB (prepared data, models and "
        "checkpoints apart)",
        f"peak: predicted for {device}, {peak}, for the largest batch by {' or '.join(sorted(sources))}",
        *sorted({row["predicted_peak"]["unknown"] for row in rows if "unknown" in row["predicted_peak"]}),
        *([f"not packed by nf4, in 16 bits: {', '.join(unpacked)}"] if unpacked else []),
        *_run_time(rows),
    ]


def _run_time(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Hours that are predicted, done and left."""
    predicted = [row["seconds"] for row in rows if row["seconds"] is not None]
    taken = [row["taken_seconds"] for row in rows if row["taken_seconds"] is not None]
    finished = f"done: {len(taken)} cells in {sum(taken) / HOUR:,.2f} hours"
    if not predicted:
        unknown = "run time unknown: no records of cells like these below --results"
        return [unknown, finished] if taken else [unknown]
    devices = sorted({row["seconds_from"]["device"] for row in rows if row["seconds_from"]})
    lines = [
        f"run time {sum(predicted) / HOUR:,.2f} hours for {len(predicted)} cells (one GPU or core each), by records of "
        + ", ".join(devices)
    ]
    if len(predicted) < len(rows):
        lines.append(f"run time unknown for {len(rows) - len(predicted)} cells")
    if taken:
        left = sum(row["seconds"] for row in rows if row["seconds"] is not None and row["taken_seconds"] is None)
        lines.append(f"{finished}; left: {left / HOUR:,.2f} hours")
    return lines
