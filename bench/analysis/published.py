"""Published numbers to print beside ours: results/reference/*.csv, with remarks on those known to be wrong."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.analysis.results import Results
from bench.analysis.wording import number_text
from bench.config.study import Limits
from bench.errors import BenchError
from bench.paths import reference_numbers

REQUIRED_COLUMNS = ("source", "table", "task", "metric", "method", "budget", "value", "unit", "seeds", "remark")
POINTS_PER_UNIT = {"points": 1.0, "percent": 1.0, "%": 1.0, "fraction": 100.0}
# Amounts that are no scores: the files keep them for the record, and no table of scores shows them.
OTHER_UNITS = ("parameters", "million parameters", "MB", "GB", "minutes")
PUBLISHED_RANKS = {"small": 2, "large": 8}  # average rank per matrix behind the budgets of the published studies
Place = tuple[str, str, str, str]  # task, metric, split, budget


@dataclass(frozen=True)
class PublishedNumber:
    """One number in points. An empty `split` means the first split of the task; an empty `backbone`, not stated."""

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

    @property
    def text(self) -> str:
        """'68.71 (5)': the number, and in parentheses how many seeds it averages, if that is known."""
        return number_text(self.points) + (f" ({self.seeds})" if self.seeds else "")


@dataclass(frozen=True)
class Published:
    """The numbers that a study's scores can be held against.

    Attributes:
        first_split: by task, the split that a number without a split belongs to.
        limits: on the rows of the study, which may have fewer than the published data sets.
    """

    numbers: tuple[PublishedNumber, ...]
    first_split: dict[str, str]
    limits: Limits = field(default_factory=Limits)

    def find(self, place: Place, method: str) -> PublishedNumber | None:
        """The number of the first source that has one."""
        task, metric, split, budget = place
        for number in self.numbers:
            same_cell = (number.task, number.metric, number.budget, number.method) == (task, metric, budget, method)
            if same_cell and (number.split or self.first_split.get(task)) == split:
                return number
        return None

    def notes(self, places: Sequence[Place], results: Results) -> list[str]:
        """The sources of the numbers of the methods at these places, and what is wrong with some of them."""
        candidates = [self.find(place, method) for place in places for method in results.labels]
        numbers = [number for number in candidates if number is not None]
        if not numbers:
            return []
        sources = ", ".join(dict.fromkeys(number.source for number in numbers))
        notes = [f"Published numbers (seeds in brackets): {sources}; other hardware and code."]
        limits = {"training": self.limits.train_rows, "evaluation": self.limits.evaluation_rows}
        limited = [f"{count:,} {kind} rows" for kind, count in limits.items() if count]
        if limited:
            notes.append(f"Published numbers are of the whole data sets; ours of at most {', '.join(limited)}.")
        # One note per remark, since a remark often holds for a whole column of a published table.
        for remark in dict.fromkeys(number.remark for number in numbers if number.remark):
            cells = [
                f"{results.task_labels[n.task]} {results.labels[n.method]} {n.budget} {number_text(n.points)}"
                for n in numbers
                if n.remark == remark
            ]
            notes.append(f"Published {', '.join(cells)}: {remark}.")
        return notes


def read_published(results: Results) -> Published:
    """The published numbers for the study's tasks that have the same backbone and the same rank at their budget.

    There are none for a study on synthetic rows. Raises BenchError with file and line if a file is malformed.
    """
    first_split = {name: task.primary_split for name, task in results.tasks.items()}
    # A published number beside the score on synthetic rows would invite a comparison that means nothing.
    if any(record.data.get("synthetic") for record in results.records.values()):
        return Published((), first_split)
    files = reference_numbers(results.study.catalog.folder.parent)
    numbers = [number for file in files for number in _read(file)]
    backbones = {cell.task.name: cell.backbone.name for cell in results.cells}
    ranks = {name: budget.rank for name, budget in results.study.study.budgets.items()}
    # The same name of a budget is not enough: it must have the rank that the publication used.
    comparable = [
        number
        for number in numbers
        if (not number.backbone or number.backbone == backbones.get(number.task))
        and (number.budget not in PUBLISHED_RANKS or ranks.get(number.budget) == PUBLISHED_RANKS[number.budget])
    ]
    return Published(tuple(comparable), first_split, results.study.study.limits)


def _read(file: Path) -> list[PublishedNumber]:
    with file.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        missing = [name for name in REQUIRED_COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise BenchError(f"{file}:1: column {missing[0]!r} is missing; expected {', '.join(REQUIRED_COLUMNS)}")
        numbers = [_parse(file, line, row) for line, row in enumerate(reader, start=2)]  # line 1 is the header
    return [number for number in numbers if number is not None]


def _parse(file: Path, line: int, row: dict[str, str]) -> PublishedNumber | None:
    """None for an amount that is no score."""
    unit = row["unit"].strip()
    if unit not in POINTS_PER_UNIT and unit not in OTHER_UNITS:
        units = ", ".join((*POINTS_PER_UNIT, *OTHER_UNITS))
        raise BenchError(f"{file}:{line}: unit {unit!r}: expected one of {units}")
    try:
        value = float(row["value"])
    except (TypeError, ValueError) as error:
        raise BenchError(f"{file}:{line}: value {row['value']!r} is no number") from error
    if unit in OTHER_UNITS:
        return None
    return PublishedNumber(
        source=f"{row['source']}, {row['table']}" if row["table"] else row["source"],
        task=row["task"],
        backbone=row.get("backbone") or "",
        metric=row["metric"],
        split=row.get("split") or "",
        method=row["method"],
        budget=row["budget"],
        points=value * POINTS_PER_UNIT[unit],
        seeds=row["seeds"] or "",
        remark=(row["remark"] or "").rstrip("."),
    )
