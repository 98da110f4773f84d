"""A study's records, read from disk and grouped as the tables need them, and the same as one tidy data frame."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from bench.analysis.patterns import Pattern, PatternReader
from bench.analysis.tuning_results import Group, TuningResults, read_tuning, with_recorded_choice
from bench.config.cell import Cell
from bench.config.resolve import ResolvedStudy
from bench.config.task import Task
from bench.errors import BenchError
from bench.paths import StudyPaths
from bench.records.io import read_record
from bench.records.schema import CellKey, Record
from bench.tuning.choose import with_these_choices
from bench.tuning.donors import with_known_ranks, with_recorded_ranks

ORDER = ["task", "method", "budget", "seed", "split", "metric"]  # of the rows of the tidy data frame
# Fields that no table uses. They are nine tenths of a record's bytes.
LONG_FIELDS: dict[str, Any] = {"spec": {}, "ranks": {}, "model": {}, "files": {}, "log_tail": (), "checksums": {}}


@dataclass(frozen=True)
class Results:
    """A study's cells and their records, by the cell's id; the records lack `LONG_FIELDS` (see `full_record`).

    `patterns`: by the cell's id, the final ranks of the cells that have any.
    """

    study: ResolvedStudy
    records: dict[str, Record]
    paths: StudyPaths
    outdated: tuple[str, ...] = ()  # ids of cells whose record was made with another spec
    cells: tuple[Cell, ...] = field(default=())
    tuning: TuningResults = field(default=TuningResults())
    patterns: Mapping[str, Pattern] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.cells:  # all cells of the study; set past the frozen dataclass, as its own __init__ does
            object.__setattr__(self, "cells", self.study.cells)

    @cached_property
    def _records_by_group(self) -> dict[Group, list[Record]]:
        """Groups in the order of the study's cells, records by ascending seed."""
        # Groups without any record stay in the mapping, so that their rows appear in the tables with dashes.
        groups: dict[Group, list[Record]] = {_group(cell): [] for cell in self.cells}
        for cell in sorted(self.cells, key=lambda cell: cell.seed):
            if cell.id in self.records:
                groups[_group(cell)].append(self.records[cell.id])
        return groups

    @cached_property
    def _seeds_by_group(self) -> dict[Group, int]:
        seeds: dict[Group, int] = {}
        for cell in self.cells:
            seeds[_group(cell)] = seeds.get(_group(cell), 0) + 1
        return seeds

    @cached_property
    def tasks(self) -> dict[str, Task]:
        return {cell.task.name: cell.task for cell in self.cells}

    @cached_property
    def processes(self) -> dict[str, int]:
        """By the cell's id: how many processes train it."""
        return {cell.id: cell.recipe.processes for cell in self.cells}

    @cached_property
    def labels(self) -> dict[str, str]:
        """By method: its name in tables and figures."""
        return {cell.method.name: cell.method.label for cell in self.cells}

    @cached_property
    def task_labels(self) -> dict[str, str]:
        """By task: its name in tables and figures."""
        return {name: task.label for name, task in self.tasks.items()}

    @cached_property
    def budgets(self) -> list[str]:
        return list(dict.fromkeys(cell.budget_name for cell in self.cells))

    @cached_property
    def groups(self) -> list[Group]:
        """Every (task, method, budget) that the study asks for, in its order."""
        return list(self._seeds_by_group)

    def records_of(self, task: str, method: str, budget: str) -> list[Record]:
        """The records of all seeds, by seed, failed ones included."""
        return self._records_by_group.get((task, method, budget), [])

    def successful(self, task: str, method: str, budget: str) -> list[Record]:
        """The records of `records_of` whose status is ok."""
        return [record for record in self.records_of(task, method, budget) if record.status == "ok"]

    def seeds_planned(self, task: str, method: str, budget: str) -> int:
        """For how many seeds the study asks; 0 where it does not ask for this combination."""
        return self._seeds_by_group.get((task, method, budget), 0)

    def methods_at(self, budget: str) -> list[str]:
        """The methods that the study asks for at this budget, for any task."""
        return list(dict.fromkeys(cell.method.name for cell in self.cells if cell.budget_name == budget))

    def name_of(self, key: CellKey) -> str:
        """'CoLA, AdaLoRA, small, seed 0': a cell for readers."""
        return f"{self.task_labels[key.task]}, {self.labels[key.method]}, {key.budget}, seed {key.seed}"

    def full_record(self, cell_id: str) -> Record:
        """The whole record of a cell, read from disk again."""
        return read_record(self.paths.cell(cell_id).record)

    def restricted_to(self, methods: Collection[str]) -> Results:
        """The results of these methods alone."""
        cells = tuple(cell for cell in self.cells if cell.method.name in methods)
        records = {cell.id: self.records[cell.id] for cell in cells if cell.id in self.records}
        patterns = {cell.id: self.patterns[cell.id] for cell in cells if cell.id in self.patterns}
        tuning = self.tuning.restricted_to(methods)
        return replace(self, cells=cells, records=records, tuning=tuning, patterns=patterns)


def read_results(study: ResolvedStudy, results: Path) -> Results:
    """The record of every cell of the study that has one below results/<study>/cells.

    A record that was made with another spec than the study has today is left out, since its numbers answer another
    question. Raises BenchError if no record is left, not even of a trial, or one cannot be read.
    """
    paths = StudyPaths(results, study.name)
    tuning = read_tuning(study, paths)
    study = with_these_choices(study, {"/".join(name): group.choice for name, group in tuning.groups.items()})
    study = with_known_ranks(study, results)
    records, patterns, outdated, cells, reader = {}, {}, [], [], PatternReader()
    for cell in study.cells:
        file = paths.cell(cell.id).record
        if file.is_file():
            record = read_record(file)
            cell = with_recorded_choice(cell, record) if study.awaits_choice(cell) else cell
            cell = with_recorded_ranks(cell, record) if study.awaits_ranks(cell) else cell
            if record.cell.spec_hash == cell.spec_hash:
                records[cell.id] = _summary(record)
                # Here, since a summary lacks the ranks and reading a whole record again takes far longer.
                if pattern := reader.read(record):
                    patterns[cell.id] = pattern
            else:
                outdated.append(cell.id)
        cells.append(cell)
    study = replace(study, cells=tuple(cells))
    if not records and not any(group.trials for group in tuning.groups.values()):
        old = f" ({len(outdated)} answer an older spec of it)" if outdated else ""
        raise BenchError(f"no record of study {study.name!r} below {paths.cells}{old}: train some cells first")
    tuning = tuning.with_choices_of(cells)
    return Results(study, records, paths, tuple(outdated), tuning=tuning, patterns=patterns)


def read_summary(file: Path) -> Record:
    """The record in `file` with its `LONG_FIELDS` left empty: ten thousand whole records would not fit into memory.

    Raises BenchError as `read_record` does.
    """
    return _summary(read_record(file))


def tidy(results: Results) -> pd.DataFrame:
    """One row per cell, split and metric, and one row for a cell without a score.

    `value` is as recorded, a fraction of most metrics; parameters, bytes and seconds are as recorded.
    """
    columns: dict[str, list[Any]] = {}  # a list per column: building a frame from one dict per row is far slower
    for record in results.records.values():
        facts = _facts(record)
        scores: list[tuple[str | None, str | None, float | None]] = [
            (split, metric, value)
            for split, by_selection in record.metrics.items()
            for metric, value in by_selection[record.selection].items()
        ]
        for split, metric, value in scores or [(None, None, None)]:
            for name, fact in {**facts, "split": split, "metric": metric, "value": value}.items():
                columns.setdefault(name, []).append(fact)
    if not columns:  # trials alone are recorded
        return pd.DataFrame(columns=[*ORDER, "value"])
    # Sorted, so that the file does not depend on the order of the cells in the study.
    return pd.DataFrame(columns).sort_values(ORDER, ignore_index=True)


def metric_values(records: Sequence[Record], split: str, metric: str) -> list[float]:
    """The metric, as recorded, of those records that have it."""
    values = [metric_value(record, split, metric) for record in records]
    return [value for value in values if value is not None]


def metric_value(record: Record, split: str, metric: str) -> float | None:
    """The metric of a record, as recorded; None if the cell failed, or if it is undefined or was not measured."""
    if record.status != "ok" or split not in record.metrics:
        return None
    return record.metrics[split][record.selection].get(metric)


def _summary(record: Record) -> Record:
    return record.model_copy(update=LONG_FIELDS)


def _facts(record: Record) -> dict[str, Any]:
    """The columns of the tidy frame that describe a cell; None for what a failed cell has not recorded."""
    key, training, parameters, sizes = record.cell, record.training, record.parameters, record.bytes
    budget = parameters and parameters.budget
    seconds = training and training.seconds
    return {
        "task": key.task,
        "backbone": key.backbone,
        "method": key.method,
        "budget": key.budget,
        "seed": key.seed,
        "status": record.status,
        "adapter_start": parameters and parameters.adapter_start,
        "adapter_end": parameters and parameters.adapter_end,
        "head": parameters and parameters.head,
        "budget_kept": budget and budget.used,
        "budget_limit": budget and budget.limit,
        "budget_unit": budget and budget.unit,
        "base_bytes": sizes and sizes.base and sizes.base.total,
        "adapter_file_bytes": sizes and sizes.adapter_file,
        "optimizer_bytes": sizes and sizes.optimizer,
        "peak_bytes": sizes and sizes.peak.peak,
        "steps": training and training.steps,
        "training_seconds": seconds and seconds.training,
        "startup_seconds": seconds and seconds.startup,
        "total_seconds": seconds and seconds.total,
        "energy_joules": training and training.energy and training.energy.total,
        "device": record.environment.get("device_name"),
        "lock_sha256": record.environment.get("lock_sha256"),
        "commit": record.environment.get("commit"),
        "dirty": record.environment.get("dirty"),
        "synthetic": record.data.get("synthetic"),
        "spec_hash": key.spec_hash,
    }


def _group(cell: Cell) -> Group:
    return cell.task.name, cell.method.name, cell.budget_name
