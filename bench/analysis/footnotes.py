"""What a reader must know beside the numbers. The cautions among it are what `--strict` refuses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from bench.analysis.results import Results
from bench.errors import BenchError

SHORT = 12  # hex digits of a hash


def footnotes(results: Results) -> tuple[str, ...]:
    """In a fixed order: backbones, commits where there are several, then every caution."""
    backbones: dict[str, list[str]] = {}
    for cell in results.cells:
        backbones.setdefault(cell.backbone.name, []).append(cell.task.name)
    named = "; ".join(f"{name} ({', '.join(dict.fromkeys(tasks))})" for name, tasks in backbones.items())
    commits = Counter(str(r.environment.get("commit"))[:SHORT] for r in results.records.values())
    several = [f"Commits: {_counted(commits)}."] if len(commits) > 1 else []
    return (f"Backbones: {named}.", *several, *cautions(results))


def cautions(results: Results) -> tuple[str, ...]:
    """Why the numbers are no result, or no fair comparison; empty where they are both."""
    return (*_synthetic(results), *_mixtures(results), *_unequal(results), *_outdated(results))


def check_strict(results: Results) -> None:
    """Raises BenchError where there is any caution."""
    found = cautions(results)
    if found:
        raise BenchError("--strict: " + " ".join(found))


def _synthetic(results: Results) -> Iterable[str]:
    tasks = sorted({r.cell.task for r in results.records.values() if r.data.get("synthetic")})
    if tasks:
        yield f"Synthetic rows made by a generator ({', '.join(tasks)}): no result about the tasks themselves."


def _mixtures(results: Results) -> Iterable[str]:
    environments = [record.environment for record in results.records.values()]
    for key, what in (("device", "kinds of device"), ("device_name", "devices"), ("driver", "drivers")):
        found = Counter(str(e.get(key))[:40] for e in environments)
        if len(found) > 1:
            yield f"Mixed {what}: {_counted(found)}."
    for task in results.tasks:
        prints = Counter(
            str(r.data.get("fingerprint"))[:SHORT] for r in results.records.values() if r.cell.task == task
        )
        if len(prints) > 1:
            yield f"Mixed rows, {task}: records of several data sets (fingerprints: {_counted(prints)})."
    locks = Counter(str(e.get("lock_sha256"))[:SHORT] for e in environments)
    if len(locks) > 1:
        yield f"Mixed environments (hash of the lock): {_counted(locks)}."
    dirty = sum(bool(e.get("dirty")) for e in environments)
    if dirty:
        yield f"{dirty} of {len(environments)} records were made with uncommitted changes in the code."
    shared = sum(bool(e.get("other_processes")) for e in environments)
    if shared:
        yield f"{shared} of {len(environments)} records shared their device with another process: peaks may be high."


def _unequal(results: Results) -> Iterable[str]:
    """One line a budget: tasks whose adapters keep unequal numbers of parameters, beyond the study's tolerance."""
    tolerance = results.study.study.tolerance
    for budget in results.budgets:
        found = []
        for task in results.tasks:
            counts = [
                record.parameters.adapter_end
                for record in results.records.values()
                if (record.cell.task, record.cell.budget) == (task, budget) and record.parameters
            ]
            low, high = min(counts, default=0), max(counts, default=0)
            if low and high / low - 1 > tolerance:
                found.append(f"{task} {low:,} to {high:,} (+{100 * (high / low - 1):.1f}%)")
        if found:
            yield (
                f"Unequal budgets, {budget}: adapter parameters at the end, {'; '.join(found)}; "
                "equal ranks are not equal parameters."
            )


def _outdated(results: Results) -> Iterable[str]:
    if results.outdated:
        yield f"{len(results.outdated)} records answer an older spec of the study and are left out."


def _counted(found: Counter[str]) -> str:
    return ", ".join(f"{name} ({found[name]})" for name in sorted(found))
