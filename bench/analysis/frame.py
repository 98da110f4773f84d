"""A study's records as one tidy frame: a row for each cell and metric. No torch, no guess: what is missing is None."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bench.errors import BenchError
from bench.records.io import NAME, read_record
from bench.records.schema import Record
from bench.spec.cell import Cell
from bench.spec.resolve import ResolvedStudy


@dataclass(frozen=True)
class Results:
    """The study's cells and the records that stand for them (by the cell's id)."""

    study: ResolvedStudy
    records: dict[str, Record]
    folder: Path  # results/<study>

    def of(self, task: str, method: str, budget: str) -> list[Record]:
        """The records of all seeds of one comparison, failed ones too, by seed."""
        found = [
            r for r in self.records.values() if (r.cell.task, r.cell.method, r.cell.budget) == (task, method, budget)
        ]
        return sorted(found, key=lambda record: record.cell.seed)

    def wanted(self, task: str, method: str, budget: str) -> int:
        """How many seeds the study asks for."""
        return sum(_names(cell) == (task, method, budget) for cell in self.study.cells)


def read_results(study: ResolvedStudy, results: Path) -> Results:
    """Every record below results/<study>/cells that belongs to a cell of the study. Raises BenchError for a bad one.

    A record whose spec is no longer the study's is left out: its numbers answer another question.
    """
    folder = results / study.name
    records = {}
    for cell in study.cells:
        file = folder / "cells" / cell.id / NAME
        if file.is_file():
            record = read_record(file)
            if record.cell.spec_hash == cell.spec_hash:
                records[cell.id] = record
    if not records:
        raise BenchError(f"no record of study {study.name!r} below {folder / 'cells'}: train some cells first")
    return Results(study, records, folder)


def tidy(results: Results) -> pd.DataFrame:
    """Columns: task, method, budget, seed, status, split, metric, value (a fraction), adapter_start, adapter_end."""
    rows = []
    for record in results.records.values():
        key = record.cell
        parameters = record.parameters
        common = {
            "task": key.task,
            "backbone": key.backbone,
            "method": key.method,
            "budget": key.budget,
            "seed": key.seed,
            "status": record.status,
            "adapter_start": parameters.adapter_start if parameters else None,
            "adapter_end": parameters.adapter_end if parameters else None,
        }
        scores: list[tuple[str | None, str | None, float | None]] = [
            (s, m, v) for s, at in record.metrics.items() for m, v in at[record.selection].items()
        ]
        for split, metric, value in scores or [(None, None, None)]:
            rows.append({**common, "split": split, "metric": metric, "value": value})
    return pd.DataFrame(rows).sort_values(["task", "method", "budget", "seed", "split", "metric"], ignore_index=True)


def values(records: Sequence[Record], split: str, metric: str) -> list[float]:
    """The metric's values (fractions) of the records that have one."""
    found = [r.metrics[split][r.selection].get(metric) for r in records if r.status == "ok" and split in r.metrics]
    return [value for value in found if value is not None]


def _names(cell: Cell) -> tuple[str, str, str]:
    return cell.task.name, cell.method.name, cell.budget_name
