"""What a reader must know beside the numbers, and what `--strict` refuses."""

from __future__ import annotations

from bench.analysis.frame import Results
from bench.errors import BenchError


def footnotes(results: Results) -> tuple[str, ...]:
    """In a fixed order: synthetic rows, mixed or dirty environments, unequal budgets."""
    synthetic = sorted({r.cell.task for r in results.records.values() if r.data.get("synthetic")})
    notes = []
    if synthetic:
        notes.append(f"Synthetic rows made by a generator ({', '.join(synthetic)}): no result about the task itself.")
    return (*notes, *mixtures(results), *_unequal(results))


def mixtures(results: Results) -> list[str]:
    """Why the records are no fair comparison; empty where they are one."""
    notes = []
    environments = [r.environment for r in results.records.values()]
    for key, what in (
        ("device_name", "devices"),
        ("device", "kinds of device"),
        ("lock_sha256", "environments (locks)"),
    ):
        found = sorted({str(e.get(key)) for e in environments})
        if len(found) > 1:
            notes.append(f"Mixed {what}: {', '.join(name[:40] for name in found)}.")
    dirty = sum(bool(e.get("dirty")) for e in environments)
    if dirty:
        notes.append(f"{dirty} of {len(environments)} records were made with uncommitted changes in the code.")
    return notes


def check_strict(results: Results) -> None:
    """Raises BenchError where `mixtures` finds anything."""
    found = mixtures(results)
    if found:
        raise BenchError("--strict: " + " ".join(found))


def _unequal(results: Results) -> list[str]:
    """Cells of one task and budget whose kept adapter parameters differ by more than the study's tolerance."""
    tolerance = results.study.study.tolerance
    groups: dict[tuple[str, str], dict[str, int]] = {}
    for record in results.records.values():
        if record.parameters is not None:
            key = (record.cell.task, record.cell.budget)
            groups.setdefault(key, {})[record.cell.id] = record.parameters.adapter_end
    notes = []
    for (task, budget), counts in sorted(groups.items()):
        low, high = min(counts.values()), max(counts.values())
        if low and high / low - 1 > tolerance:
            notes.append(
                f"Unequal budgets: {task}, {budget}: adapters keep {low:,} to {high:,} parameters "
                f"(+{100 * (high / low - 1):.1f}%); equal ranks are not equal parameters."
            )
    return notes
