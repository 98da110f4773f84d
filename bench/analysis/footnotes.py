"""What a reader must know beside the numbers. `--strict` refuses results that come with any caution."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from bench.analysis.results import Results
from bench.analysis.rouge_notes import dropped_texts, tokenizers
from bench.analysis.signature_notes import signatures
from bench.analysis.stats.comparison import Comparison
from bench.analysis.stats.limits import Limit, Missing
from bench.analysis.tuning_notes import recipe_notes, tuning_cautions
from bench.errors import BenchError
from bench.records.schema import Record

SHORT = 12  # hex digits of a hash that are printed
MAX_PLACES = 8  # differences that a footnote names
LIMIT_NOTES = {
    Limit.EXAMPLES: f"Wide, {Limit.EXAMPLES.value}",
    Limit.DISCORDANT: f"Wide, {Limit.DISCORDANT.value}",
    Limit.GROUPS: f"Uncertain, {Limit.GROUPS.value} (coverage: docs/results.md)",
}


def footnotes(results: Results) -> tuple[str, ...]:
    """The backbones, the commits if there are several, how recipes were tuned, failed runs, then every caution."""
    tasks_by_backbone: dict[str, list[str]] = {}
    for cell in results.cells:
        tasks_by_backbone.setdefault(cell.backbone.name, []).append(cell.task.label)
    backbones = [f"{name} ({', '.join(dict.fromkeys(tasks))})" for name, tasks in tasks_by_backbone.items()]
    notes = [f"Backbones: {'; '.join(backbones)}."]
    commits = Counter(str(record.environment.get("commit"))[:SHORT] for record in results.records.values())
    if len(commits) > 1:
        notes.append(f"Commits: {_counts(commits)}.")
    how_scored = (*tokenizers(results), *signatures(results))
    return (*notes, *recipe_notes(results), *_failed(results), *how_scored, *cautions(results))


def comparison_notes(results: Results, comparisons: Sequence[Comparison], *, bold: bool = True) -> list[str]:
    """Why differences have no interval, which of them lack seeds, and which meet a limit of coverage.

    `bold`: whether the table makes clear differences bold.
    """
    notes = []
    for missing in Missing:
        without = [c for c in comparisons if c.missing is missing]
        if without:
            notes.append(f"No interval, {missing.value}: {_places(results, without)}.")
    incomplete = [c for c in comparisons if not c.complete]
    if incomplete:
        what = "Never bold, a" if bold else "A"
        notes.append(
            f"{what} seed of one method is missing, failed or without a score: {_places(results, incomplete)}."
        )
    for limit in Limit:
        limited = [c for c in comparisons if limit in c.limits]
        if limited:
            notes.append(f"{LIMIT_NOTES[limit]}: {_places(results, limited)}.")
    return notes


def _places(results: Results, comparisons: Sequence[Comparison]) -> str:
    """'CoLA MCC on validation, small: AdaLoRA − LoRA; ...', or how many where they are too many to be read."""
    if len(comparisons) > MAX_PLACES:
        return f"{len(comparisons)} differences"
    tasks = results.task_labels
    return "; ".join(
        f"{tasks[c.contrast.task]} {c.facts.label} on {c.contrast.split}, {c.contrast.budget}: "
        f"{results.labels[c.contrast.second]} − {results.labels[c.contrast.first]}"
        for c in comparisons
    )


def _failed(results: Results) -> Iterator[str]:
    """Per method, the share of the recorded runs that failed: a result beside the means, which are over survivors."""
    shares = []
    for method, label in results.labels.items():
        statuses = [record.status for record in results.records.values() if record.cell.method == method]
        failed = sum(status != "ok" for status in statuses)
        if failed:
            shares.append(f"{label} {failed} of {len(statuses)} runs ({100 * failed / len(statuses):.0f}%)")
    if shares:
        yield f"Failed: {', '.join(shares)}."


def cautions(results: Results) -> tuple[str, ...]:
    """Why the numbers are no result about the tasks, or no fair comparison; empty if they are both."""
    records = list(results.records.values())
    return (
        *_synthetic(results),
        *_mixed_environments(records),
        *_mixed_rows(results),
        *_mixed_locks(records),
        *_disturbed(records),
        *_unequal_budgets(results),
        *dropped_texts(results),
        *_outdated(results),
        *tuning_cautions(results),
    )


def check_strict(results: Results) -> None:
    """Raises BenchError if there is any caution."""
    messages = cautions(results)
    if messages:
        raise BenchError("--strict: " + " ".join(messages))


def _synthetic(results: Results) -> Iterator[str]:
    synthetic = {record.cell.task for record in results.records.values() if record.data.get("synthetic")}
    tasks = [label for task, label in results.task_labels.items() if task in synthetic]
    if tasks:
        yield f"Synthetic rows made by a generator ({', '.join(tasks)}): no result about the tasks themselves."


def _mixed_environments(records: Iterable[Record]) -> Iterator[str]:
    for key, noun in (("device", "kinds of device"), ("device_name", "devices"), ("driver", "drivers")):
        counts = Counter(str(record.environment.get(key))[:40] for record in records)
        if len(counts) > 1:
            yield f"Mixed {noun}: {_counts(counts)}."


def _mixed_rows(results: Results) -> Iterator[str]:
    for task in results.tasks:
        records = [record for record in results.records.values() if record.cell.task == task]
        fingerprints = Counter(str(record.data.get("fingerprint"))[:SHORT] for record in records)
        if len(fingerprints) > 1:
            counts = _counts(fingerprints)
            yield f"Mixed rows, {results.task_labels[task]}: records of several data sets (fingerprints: {counts})."


def _mixed_locks(records: Iterable[Record]) -> Iterator[str]:
    locks = Counter(str(record.environment.get("lock_sha256"))[:SHORT] for record in records)
    if len(locks) > 1:
        yield f"Mixed environments (hash of the lock): {_counts(locks)}."


def _disturbed(records: list[Record]) -> Iterator[str]:
    dirty = sum(bool(record.environment.get("dirty")) for record in records)
    if dirty:
        yield f"{dirty} of {len(records)} records were made with uncommitted changes in the code."
    moved = sum(len(record.training.devices) > 1 for record in records if record.training)
    if moved:
        yield f"{moved} of {len(records)} records were trained on devices of several models: mixed bits and times."
    instead = sum(bool(record.environment.get("cpu_in_place_of_gpus")) for record in records)
    if instead:
        yield f"{instead} of {len(records)} records were made on the CPU, though their jobs had GPUs."
    shared = sum(_unasked(record) for record in records)
    if shared:
        yield f"{shared} of {len(records)} records shared their device with another process: peaks may be high."


def _unasked(record: Record) -> bool:
    """Whether more processes were on its device than cells were asked to share it."""
    asked = record.training.cells_per_gpu if record.training else 1
    # One of those that are listed may be the cell itself, or the service by which they share it.
    return len(record.environment.get("other_processes") or ()) > (asked if asked > 1 else 0)


def _unequal_budgets(results: Results) -> Iterator[str]:
    """Per budget, the tasks whose adapters end with numbers of parameters that differ by more than the tolerance."""
    tolerance = results.study.study.tolerance
    for budget in results.budgets:
        unequal = []
        for task in results.tasks:
            sizes = [
                record.parameters.adapter_end
                for record in results.records.values()
                if (record.cell.task, record.cell.budget) == (task, budget) and record.parameters
            ]
            # The widest gap at this task and budget, over all methods and seeds.
            low, high = min(sizes, default=0), max(sizes, default=0)
            if low and high / low - 1 > tolerance:
                unequal.append(f"{results.task_labels[task]} {low:,} to {high:,} (+{100 * (high / low - 1):.1f}%)")
        if unequal:
            yield (
                f"Unequal budgets, {budget}: adapter parameters at the end, {'; '.join(unequal)}; "
                "equal ranks are not equal parameters."
            )


def _outdated(results: Results) -> Iterator[str]:
    if results.outdated:
        yield f"{len(results.outdated)} records answer an older spec of the study and are left out."


def _counts(counts: Counter[str]) -> str:
    # Sorted by name, not by count, so that the text does not depend on the order of the cells.
    return ", ".join(f"{name} ({counts[name]})" for name in sorted(counts))
