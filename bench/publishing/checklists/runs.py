"""Sections of a checklist on runs: seeds, failures, compute and energy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from bench.analysis.compute import Compute, Run, cell_runs, compute_of, run_of, trial_runs
from bench.analysis.energy import JOULES_PER_WH, NOT_MEASURED, energy_notes
from bench.analysis.results import Results
from bench.analysis.tables.resources import shared_note
from bench.analysis.tuning_results import Group
from bench.analysis.tuning_wording import group_text, listed
from bench.analysis.wording import FAILURE_WORDS, mib_text, three_digits, two_digits
from bench.publishing.checklists.facts import Facts
from bench.publishing.checklists.model import NOT_RECORDED, Section, item
from bench.records.schema import Record

WHAT_SEEDS_DECIDE = (
    "A seed decides the first values of adapter and head, the order of the rows and dropout. All methods of a task "
    "share them at the same seed."
)


def seeds_section(facts: Facts) -> Section:
    """Which seeds, how many, and in which groups others."""
    results = facts.results
    tuning = results.tuning.tuning
    trials = [f"{', '.join(map(str, tuning.seeds))}, none of them a seed of the results"] if tuning else []
    return Section(
        "Seeds",
        "NeurIPS 7 (Experiment statistical significance); ACL C3 (descriptive statistics)",
        (
            item("Seeds of the results", _seed_texts(results)),
            *([item("Seeds of the trials", trials)] if trials else []),
            item("What a seed decides", WHAT_SEEDS_DECIDE),
        ),
    )


def failures_section(facts: Facts) -> Section:
    """How many runs failed, and of what."""
    results = facts.results
    trials = list(trial_runs(results))
    return Section(
        "Failures",
        "NeurIPS 8 (Experiments compute resources: runs that did not make it into the paper); ACL C3",
        (
            item("Final cells", _failures(list(cell_runs(results)), len(results.cells))),
            *([item("Trials", _failures(trials, _planned_trials(results)))] if results.tuning.tuning else []),
            item(
                "Set aside for another try", _statuses(Counter(record.status for record in facts.set_aside)) or "none"
            ),
            item("How they count", "A failure never enters a mean; tables show it beside the n of the others."),
        ),
    )


def compute_section(facts: Facts) -> Section:
    """On what and how long: of final cells, of trials and of failures, each by itself."""
    results = facts.results
    took = _by_outcome(facts)
    return Section(
        "Compute",
        "NeurIPS 8 (Experiments compute resources); ACL C1 (parameters, computational budget, infrastructure)",
        (
            item("Devices", sorted({_device_text(device) for c in took.values() for device in c.hours})),
            *(item(f"Hours, {name}", _hours(compute)) for name, compute in took.items()),
            item("How hours are counted", list(_how_counted(results))),
            item("Largest measured memory of a training", list(_peaks(results.records.values()))),
            item("Jobs", _jobs(list(results.records.values()))),
        ),
    )


def energy_section(facts: Facts) -> Section:
    """What final cells, trials and failures consumed, as far as it was measured."""
    took = _by_outcome(facts)
    every = [energy for compute in took.values() for energy in compute.energies]
    return Section(
        "Energy",
        "NeurIPS 8 (Experiments compute resources); ACL C1 (computational budget)",
        (
            *(item(name.capitalize(), _energy(compute)) for name, compute in took.items() if compute.runs),
            item("How it was measured", energy_notes(every, "runs")),
        ),
    )


def missing_text(results: Results) -> str | None:
    """How many cells and trials have no record; None where none is missing."""
    planned, recorded = _planned_trials(results), len(list(trial_runs(results)))
    cells = len(results.cells) - len(results.records)
    texts = [f"{cells} of {len(results.cells)} cells"] if cells else []
    texts += [f"{planned - recorded} of {planned} trials"] if planned > recorded else []
    return f"Incomplete: {' and '.join(texts)} have no record, and nothing below tells of them." if texts else None


def _by_outcome(facts: Facts) -> dict[str, Compute]:
    cells, trials = list(cell_runs(facts.results)), list(trial_runs(facts.results))
    failed = [run for run in (*cells, *trials) if run.status != "ok"]
    failed += [run_of(record, record.spec.get("recipe", {}).get("processes", 1)) for record in facts.set_aside]
    runs = {"final cells": [run for run in cells if run.status == "ok"]}
    if facts.results.tuning.tuning is not None:
        runs["trials"] = [run for run in trials if run.status == "ok"]
    return {name: compute_of(of_kind) for name, of_kind in {**runs, "failures": failed}.items()}


def _seed_texts(results: Results) -> list[str]:
    """'3 (0, 1, 2) in each group', or one text for each list of seeds with the groups that have it."""
    seeds: dict[Group, list[int]] = {}
    for record in results.records.values():
        key = record.cell
        if record.status == "ok":
            seeds.setdefault((key.task, key.method, key.budget), []).append(key.seed)
    by_seeds: dict[tuple[int, ...], list[Group]] = {}
    for group in results.groups:
        by_seeds.setdefault(tuple(sorted(seeds.get(group, ()))), []).append(group)
    if len(by_seeds) == 1:
        return [f"{_seeds(next(iter(by_seeds)))} in each of {len(results.groups)} groups (task × method × budget)"]
    return [
        f"{_seeds(which)}: {listed([group_text(group, results) for group in groups])}"
        for which, groups in by_seeds.items()
    ]


def _seeds(seeds: Sequence[int]) -> str:
    return f"{len(seeds)} ({', '.join(map(str, seeds))})" if seeds else "none ended well"


def _planned_trials(results: Results) -> int:
    return sum(group.planned for group in results.tuning.groups.values())


def _failures(runs: Sequence[Run], planned: int) -> str:
    failed = _statuses(Counter(run.status for run in runs if run.status != "ok"))
    return f"{failed or 'none'} of {len(runs)} recorded, {planned} planned"


def _statuses(counts: Mapping[str, int]) -> str:
    words = {**FAILURE_WORDS, "oom": "out of memory"}
    return ", ".join(f"{counts[status]} {word}" for status, word in words.items() if counts.get(status))


def _hours(compute: Compute) -> list[str]:
    if not compute.runs:
        return ["none"]
    texts = [_hours_text(device, hours) for device, hours in sorted(_known(compute.hours))]
    texts = [f"{text} ({compute.runs} runs in all)" if len(texts) == 1 else text for text in texts]
    if compute.untimed:
        texts.append(f"of {compute.untimed} of {compute.runs} runs: {NOT_RECORDED}")
    return texts


def _hours_text(device: tuple[str, str], hours: float) -> str:
    kind, name = device
    return f"{two_digits(hours)} {'GPU' if kind == 'cuda' else 'process'} hours on {name or NOT_RECORDED}"


def _known(hours: Mapping[tuple[str, str | None], float]) -> Iterator[tuple[tuple[str, str], float]]:
    for (kind, name), amount in hours.items():
        yield (kind, name or ""), amount


def _device_text(device: tuple[str, str | None]) -> str:
    kind, name = device
    noun = {"cpu": "processor", "cuda": "GPU"}.get(kind, kind)
    return f"{noun} {name or NOT_RECORDED}"


def _how_counted(results: Results) -> Iterator[str]:
    threads = sorted({cell.threads for cell in results.cells})
    yield "Wall time × processes, of which each has one GPU; on processors each has " + (
        f"{' or '.join(map(str, threads))} {'thread' if threads == [1] else 'threads'}."
    )
    yield f"Steps that were lost in interruptions, and preparing data and models: {NOT_RECORDED}."
    yield from shared_note(results)


def _peaks(records: Iterable[Record]) -> Iterator[str]:
    peaks: dict[tuple[str, str | None], int] = {}
    for record in records:
        if record.bytes is not None and record.status == "ok":
            device = run_of(record, 1).device
            peaks[device] = max(peaks.get(device, 0), record.bytes.peak.peak)
    for device, peak in peaks.items():
        yield f"{mib_text(peak / 2**20)} MiB on {_device_text(device)}"


def _jobs(records: Sequence[Record]) -> str:
    through = sum(bool(record.environment.get("slurm")) for record in records)
    return f"{through} of {len(records)} final cells ran in jobs of Slurm"


def _energy(compute: Compute) -> str:
    measured = [energy.total for energy in compute.energies if energy is not None]
    if not measured:
        return f"{NOT_MEASURED} ({compute.runs} runs)"
    rest = len(compute.energies) - len(measured)
    of_rest = f"; {rest} of {compute.runs}: {NOT_MEASURED}" if rest else ""
    return f"{three_digits(sum(measured) / JOULES_PER_WH)} Wh ({len(measured)} runs{of_rest})"
