"""Published numbers beside ours, from results/reference/*.csv, with what is known to be wrong about them."""

from __future__ import annotations

import csv
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.analysis.results import Results
from bench.analysis.tables.model import DASH, Entry
from bench.config.study import Limits
from bench.errors import BenchError
from bench.paths import reference_numbers

NEEDED = ("source", "table", "task", "metric", "method", "budget", "value", "unit", "seeds", "remark")
SCALES = {"points": 1.0, "percent": 1.0, "%": 1.0, "fraction": 100.0}
RANKS = {"small": 2, "large": 8}  # average rank a matrix of the printed numbers' budgets
AMOUNTS = ("parameters", "million parameters", "MB", "GB", "minutes")  # no scores: kept in the files, in no score table


@dataclass(frozen=True)
class Printed:
    """One number as it was printed, in points. split "": the first split of the task; backbone "": not said."""

    source: str
    task: str
    backbone: str
    metric: str
    split: str
    method: str
    budget: str
    points: float
    seeds: str
    remark: str


@dataclass(frozen=True)
class Published:
    """The printed numbers that a study's tables can be held against. limits: rows of the study, where it has fewer."""

    numbers: tuple[Printed, ...]
    first_split: dict[str, str]
    limits: Limits = field(default_factory=Limits)

    def entry(self, task: str, metric: str, split: str, budget: str, method: str) -> Entry:
        """The first source's number with its seeds, or a dash."""
        for number in self._of(task, metric, split, budget, method):
            return Entry(f"{number.points:.2f}" + (f" ({number.seeds})" if number.seeds else ""), number.points)
        return Entry(DASH)

    def notes(self, places: Sequence[tuple[str, str, str, str]], methods: Collection[str]) -> list[str]:
        """Sources of the numbers in a table, and what is wrong with some."""
        shown = [next(iter(self._of(*place, method)), None) for place in places for method in methods]
        used = [number for number in shown if number is not None]
        sources = ", ".join(dict.fromkeys(number.source for number in used))
        notes = [f"Published numbers (seeds in brackets): {sources}; other hardware and code."] if used else []
        rows = {"training": self.limits.train_rows, "evaluation": self.limits.evaluation_rows}
        if used and any(rows.values()):
            fewer = ", ".join(f"{count:,} {what} rows" for what, count in rows.items() if count)
            notes.append(f"Published numbers are of the whole data sets; ours of at most {fewer}.")
        for remark in dict.fromkeys(number.remark for number in used if number.remark):
            cells = [f"{n.task} {n.method} {n.budget} {n.points:.2f}" for n in used if n.remark == remark]
            notes.append(f"Published {', '.join(cells)}: {remark}.")
        return notes

    def _of(self, task: str, metric: str, split: str, budget: str, method: str) -> list[Printed]:
        key = (task, metric, budget, method)
        return [n for n in self.numbers if (n.task, n.metric, n.budget, n.method) == key
                and (n.split or self.first_split.get(task)) == split]  # fmt: skip


def read_published(results: Results) -> Published:
    """The numbers in the project's reference files for the study's tasks on its backbones and of its budgets, by their
    ranks; none for generated rows. Raises BenchError for a bad file."""
    first = {name: task.primary_split for name, task in results.tasks.items()}
    if any(record.data.get("synthetic") for record in results.records.values()):
        return Published((), first)
    files = reference_numbers(results.study.library.folder.parent)
    numbers = [number for file in files for number in _read(file)]
    backbones = {cell.task.name: cell.backbone.name for cell in results.cells}
    ranks = {name: budget.rank for name, budget in results.study.study.budgets.items()}
    same = [
        n for n in numbers
        if (not n.backbone or n.backbone == backbones.get(n.task))
        and (n.budget not in RANKS or ranks.get(n.budget) == RANKS[n.budget])
    ]  # fmt: skip
    return Published(tuple(same), first, results.study.study.limits)


def _read(file: Path) -> list[Printed]:
    with file.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        lacking = [name for name in NEEDED if name not in (reader.fieldnames or ())]
        if lacking:
            raise BenchError(f"{file}:1: column {lacking[0]!r} is missing; expected {', '.join(NEEDED)}")
        found = [_printed(file, line, row) for line, row in enumerate(reader, start=2)]
    return [number for number in found if number is not None]


def _printed(file: Path, line: int, row: dict[str, str]) -> Printed | None:
    """None for a printed amount that is no score."""
    unit = row["unit"].strip()
    if unit not in SCALES and unit not in AMOUNTS:
        raise BenchError(f"{file}:{line}: unit {unit!r}: expected one of {', '.join((*SCALES, *AMOUNTS))}")
    try:
        value = float(row["value"])
    except (TypeError, ValueError) as error:
        raise BenchError(f"{file}:{line}: value {row['value']!r} is no number") from error
    if unit in AMOUNTS:
        return None
    points = value * SCALES[unit]
    source = f"{row['source']}, {row['table']}" if row["table"] else row["source"]
    return Printed(
        source, row["task"], row.get("backbone") or "", row["metric"], row.get("split") or "", row["method"],
        row["budget"], points, row["seeds"] or "", (row["remark"] or "").rstrip("."),
    )  # fmt: skip
