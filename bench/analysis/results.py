"""A study's records as one tidy frame: a row for each cell and metric. No torch, no guess: what is missing is None."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.analysis.reading import read_summary
from bench.config.cell import Cell
from bench.config.resolve import ResolvedStudy
from bench.config.task import Task
from bench.errors import BenchError
from bench.paths import StudyPaths
from bench.records.io import read_record
from bench.records.schema import Record

if TYPE_CHECKING:
    import pandas as pd

Group = tuple[str, str, str]  # task, method, budget: the seeds of one column of a table


@dataclass(frozen=True)
class Results:
    """The study's cells and the records that stand for them, by the cell's id, without spec and ranks (`full`)."""

    study: ResolvedStudy
    records: dict[str, Record]
    paths: StudyPaths
    outdated: tuple[str, ...] = ()  # cells whose record answers another spec
    cells: tuple[Cell, ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.cells:
            object.__setattr__(self, "cells", self.study.cells)

    @cached_property
    def _groups(self) -> dict[Group, list[Record]]:
        """In the study's order of cells, seeds ascending."""
        groups: dict[Group, list[Record]] = {_names(cell): [] for cell in self.cells}
        for cell in sorted(self.cells, key=lambda cell: cell.seed):
            if cell.id in self.records:
                groups[_names(cell)].append(self.records[cell.id])
        return groups

    @cached_property
    def _wanted(self) -> dict[Group, int]:
        wanted: dict[Group, int] = {}
        for cell in self.cells:
            wanted[_names(cell)] = wanted.get(_names(cell), 0) + 1
        return wanted

    @cached_property
    def tasks(self) -> dict[str, Task]:
        return {cell.task.name: cell.task for cell in self.cells}

    @cached_property
    def labels(self) -> dict[str, str]:
        """By method: how it is written."""
        return {cell.method.name: cell.method.label for cell in self.cells}

    @cached_property
    def budgets(self) -> list[str]:
        return list(dict.fromkeys(cell.budget_name for cell in self.cells))

    def of(self, task: str, method: str, budget: str) -> list[Record]:
        """The records of all seeds of one comparison, failed ones too, by seed."""
        return self._groups.get((task, method, budget), [])

    def good(self, task: str, method: str, budget: str) -> list[Record]:
        """Those of `of` that ended well."""
        return [record for record in self.of(task, method, budget) if record.status == "ok"]

    def wanted(self, task: str, method: str, budget: str) -> int:
        """How many seeds the study asks for."""
        return self._wanted.get((task, method, budget), 0)

    def planned(self, budget: str) -> list[str]:
        """The methods that the study asks for at a budget, of any task."""
        return list(dict.fromkeys(cell.method.name for cell in self.cells if cell.budget_name == budget))

    def full(self, name: str) -> Record:
        """The whole record of the cell called `name`, with spec and ranks."""
        return read_record(self.paths.cell(name).record)

    def only(self, methods: Collection[str]) -> Results:
        """The results of some methods, for a table of these alone."""
        cells = tuple(cell for cell in self.cells if cell.method.name in methods)
        kept = {cell.id: self.records[cell.id] for cell in cells if cell.id in self.records}
        return replace(self, cells=cells, records=kept)


def read_results(study: ResolvedStudy, results: Path) -> Results:
    """Every record below results/<study>/cells that belongs to a cell of the study. Raises BenchError for a bad one.

    A record whose spec is no longer the study's is left out: its numbers answer another question.
    """
    paths = StudyPaths(results, study.name)
    records, outdated = {}, []
    for cell in study.cells:
        file = paths.cell(cell.id).record
        if file.is_file():
            record = read_summary(file)
            if record.cell.spec_hash == cell.spec_hash:
                records[cell.id] = record
            else:
                outdated.append(cell.id)
    if not records:
        old = f" ({len(outdated)} answer an older spec of it)" if outdated else ""
        raise BenchError(f"no record of study {study.name!r} below {paths.cells}{old}: train some cells first")
    return Results(study, records, paths, tuple(outdated))


def tidy(results: Results) -> pd.DataFrame:
    """A row a cell and metric, cells without a score too. `value` is a fraction; counts, bytes, seconds as recorded."""
    import pandas as pd

    columns: dict[str, list[Any]] = {}
    for record in results.records.values():
        facts = _facts(record)
        scores: list[tuple[str | None, str | None, float | None]] = [
            (s, m, v) for s, at in record.metrics.items() for m, v in at[record.selection].items()
        ]
        for split, metric, value in scores or [(None, None, None)]:
            for name, fact in {**facts, "split": split, "metric": metric, "value": value}.items():
                columns.setdefault(name, []).append(fact)
    frame = pd.DataFrame(columns)
    return frame.sort_values(["task", "method", "budget", "seed", "split", "metric"], ignore_index=True)


def values(records: Sequence[Record], split: str, metric: str) -> list[float]:
    """The metric's values (fractions) of the records that have one."""
    found = [value_of(record, split, metric) for record in records]
    return [value for value in found if value is not None]


def value_of(record: Record, split: str, metric: str) -> float | None:
    """The metric of a record that ended well; None where it is undefined or was not measured."""
    if record.status != "ok" or split not in record.metrics:
        return None
    return record.metrics[split][record.selection].get(metric)


def _facts(record: Record) -> dict[str, Any]:
    key, training, counts, sizes = record.cell, record.training, record.parameters, record.bytes
    return {
        "task": key.task, "backbone": key.backbone, "method": key.method, "budget": key.budget, "seed": key.seed,
        "status": record.status,
        "adapter_start": counts and counts.adapter_start, "adapter_end": counts and counts.adapter_end,
        "head": counts and counts.head, "budget_kept": counts and counts.budget.used,
        "budget_limit": counts and counts.budget.limit, "budget_unit": counts and counts.budget.unit,
        "base_bytes": sizes and sizes.base and sizes.base.total,
        "adapter_file_bytes": sizes and sizes.adapter_file, "optimizer_bytes": sizes and sizes.optimizer,
        "peak_bytes": sizes and sizes.peak.peak,
        "steps": training and training.steps, "training_seconds": training and training.seconds.training,
        "startup_seconds": training and training.seconds.startup, "total_seconds": training and training.seconds.total,
        "device": record.environment.get("device_name"), "lock_sha256": record.environment.get("lock_sha256"),
        "commit": record.environment.get("commit"), "dirty": record.environment.get("dirty"),
        "synthetic": record.data.get("synthetic"), "spec_hash": key.spec_hash,
    }  # fmt: skip


def _names(cell: Cell) -> Group:
    return cell.task.name, cell.method.name, cell.budget_name
