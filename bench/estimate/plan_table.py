"""The plan as a table for the terminal, with totals below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.estimate.tuning_cost import largest

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
    """The rows that `plan` returns as text: one line per group of trials and one per final cell, then totals.

    Steps and hours of a group are those of all its trials together. The peak is what is allocated on a GPU, or what
    training adds to the loaded model on the CPU.
    """
    trials, cells = _by_kind(rows)
    lines = [COLUMNS, *(_line(row) for row in [*_groups(trials), *cells])]
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    text = []
    for cell, *numbers in lines:
        aligned = [number.rjust(width) for number, width in zip(numbers, widths[1:], strict=True)]
        text.append("  ".join([cell.ljust(widths[0]), *aligned]))
    return "\n".join([*text, *_totals(rows)])


def _by_kind(rows: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of trials, and those of final cells."""
    return [row for row in rows if row["kind"] == "trial"], [row for row in rows if row["kind"] == "cell"]


def _groups(trials: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per group of trials: the largest sizes, the sums of steps and seconds (None if one is not known)."""
    by_group: dict[str, list[dict[str, Any]]] = {}
    for row in trials:
        by_group.setdefault(row["group"], []).append(row)
    return [
        {
            **largest(rows),
            "cell": f"{group}, {len(rows)} trials",
            **{key: _sum([row[key] for row in rows]) for key in ("expected_steps", "seconds")},
        }
        for group, rows in by_group.items()
    ]


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _line(row: dict[str, Any]) -> tuple[str, ...]:
    """One cell's columns, in the order of COLUMNS."""
    low, high = row["adapter_parameters_end"]
    return (
        row["cell"],
        "unknown" if row["expected_steps"] is None else f"{row['expected_steps']:,.0f}",
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
    trials, cells = _by_kind(rows)
    counts = f"{len(trials)} trials, {len(cells)} final cells" if trials else f"{len(cells)} cells"
    device, sources = rows[0]["predicted_peak"]["device"], {row["batch"]["from"] for row in rows}
    unpacked = sorted({name for row in rows for name in row["unpacked_parameters"]})
    peak = "allocated" if device == "cuda" else "growth over the loaded model"
    return [
        f"{counts}; disk {sum(row['disk_bytes'] for row in rows) / MIB:,.1f} MiB (prepared data, models and "
        "checkpoints apart)",
        f"peak: predicted for {device}, {peak}, for the largest batch by {' or '.join(sorted(sources))}",
        *sorted({row["predicted_peak"]["unknown"] for row in rows if "unknown" in row["predicted_peak"]}),
        *([f"not packed by nf4, in 16 bits: {', '.join(unpacked)}"] if unpacked else []),
        *_time_limits(rows),
        *_run_time(rows),
        *_tuning(trials, cells),
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


def _time_limits(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What the minutes that jobs ask for come from: a line for each source, with the longest of them."""
    by_source: dict[str, list[int]] = {}
    for row in rows:
        by_source.setdefault(_source(row["minutes_from"]), []).append(row["job"]["minutes"])
    return [
        f"time limits of {len(minutes)} jobs by {source}: up to {max(minutes):,} minutes"
        for source, minutes in by_source.items()
    ]


def _source(said: dict[str, Any]) -> str:
    if "given" in said:
        return str(said["given"])
    if "records" in said:
        slower = "" if said["slower"] == 1 else f", whose steps are counted {said['slower']:.1f} times"
        return f"records of {said['device']}{slower}"
    precision = f" in {said['precision']}" if said["precision"] else ""
    return f"{said['device']} at an assumed {said['flops_per_second'] / 1e12:.3g} TFLOP/s{precision}"


def _tuning(trials: Sequence[dict[str, Any]], cells: Sequence[dict[str, Any]]) -> list[str]:
    """The cost of trials and of final cells apart, and what successive halving saves."""
    if not trials:
        return []
    lines = ["a group of trials: steps and hours of all together, sizes of the largest"]
    hours = [_sum([row["seconds"] for row in some]) for some in (trials, cells)]
    if None not in hours:
        of_trials, of_cells = (seconds / HOUR for seconds in hours if seconds is not None)
        lines.append(
            f"trials: {len(trials)}, {of_trials:,.2f} hours; final cells: {len(cells)}, {of_cells:,.2f} hours; tuning "
            f"is {100 * of_trials / (of_trials + of_cells):.0f}% of the run time"
        )
    steps, expected = (_sum([row[key] for row in trials]) for key in ("steps", "expected_steps"))
    if steps and expected is not None and expected < steps:
        lines.append(
            f"successive halving: {expected:,.0f} of {steps:,.0f} steps of the trials, a saving of "
            f"{100 * (1 - expected / steps):.0f}%"
        )
    awaiting = sum(row["awaits_choice"] for row in cells)
    if awaiting:
        lines.append(f"final cells that await their choice: {awaiting}, with the largest size and time of all points")
    return lines
