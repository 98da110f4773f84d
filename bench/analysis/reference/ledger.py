"""The lines of the ledger, read from its CSV files: one published number each, with all that is known of it."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.analysis.reference.rules import parse_rule
from bench.config.metric_facts import OWN_FACTS
from bench.errors import BenchError, nearest

REQUIRED_COLUMNS = ("source", "table", "task", "metric", "method", "budget", "value", "unit", "seeds", "remark")
LEDGER_COLUMNS = ("parameters", "protocol", "average_rule", "copied_from", "quality")
COLUMNS = (*REQUIRED_COLUMNS, "split", "backbone", *LEDGER_COLUMNS)
POINTS_PER_UNIT = {"points": 1.0, "percent": 1.0, "%": 1.0, "fraction": 100.0}
AS_IT_IS = "value"  # the unit of metrics that are no fractions, such as a perplexity
SCORE_UNITS = (*POINTS_PER_UNIT, AS_IT_IS)
# Amounts that are no scores: the files keep them for the record, and no table of scores shows them.
OTHER_UNITS = ("parameters", "million parameters", "MB", "GB", "minutes")
PROTOCOLS = ("last", "best on dev", "not said")
PRIMARY, SECONDARY = QUALITIES = ("primary", "secondary")  # read in the paper, read in notes on the paper
ALL_TASKS = "all"  # in place of a task, for an amount that belongs to none
MEAN_METRIC = "mean"  # of a printed average
MIXED = "mixed"  # a row of which some values are copied and others are not
_AVERAGE = re.compile(r"mean of (\d+) tasks")


@dataclass(frozen=True)
class LedgerLine:
    """One published number.

    Attributes:
        file, line: where it stands; lines count from 1.
        split: empty for the first split of the task.
        backbone: empty where the source does not say it.
        points: the number as tables show it: in points, that is percent, or as it is where its metric is no fraction;
            None for an amount that is no score.
        digits: how many decimals of the points are printed.
        parameters: how many the method trains, as printed.
        protocol: one of PROTOCOLS; empty where nobody has looked it up.
        average_rule: of a printed average, the rule that its source names, in the words of `rules.py`.
        copied_from: the source and table that the row is copied from; with MIXED where it is so in part.
        quality: one of QUALITIES; empty where it is not known.
    """

    file: Path
    line: int
    source: str
    table: str
    task: str
    split: str
    metric: str
    backbone: str
    method: str
    budget: str
    points: float | None
    digits: int
    seeds: str
    remark: str
    parameters: str = ""
    protocol: str = ""
    average_rule: str = ""
    copied_from: str = ""
    quality: str = ""

    @property
    def title(self) -> str:
        """'Zhang et al. 2023 (AdaLoRA), table 1'."""
        return f"{self.source}, {self.table}" if self.table else self.source

    @property
    def averaged_tasks(self) -> int | None:
        """How many tasks a printed average is over; None for a number that is no average."""
        found = _AVERAGE.fullmatch(self.task)
        return int(found[1]) if found else None

    @property
    def mixed(self) -> bool:
        """Whether the row is said to hold copied values and others."""
        return self.copied_from.partition(":")[0] == MIXED

    @property
    def origin(self) -> str:
        """The title of the source that the row is copied from; empty where none is named."""
        return self.copied_from.partition(":")[2].strip() if self.mixed else self.copied_from


def ledger_files(*folders: Path) -> list[Path]:
    """The files of the ledger in `folders`, in the order in which they are read; a folder may be missing.

    Raises BenchError if two folders have a file of the same name.
    """
    files: dict[str, Path] = {}
    for file in (file for folder in folders for file in sorted(folder.glob("*.csv"))):
        if file.name in files:
            raise BenchError(f"{files[file.name]}: there is {file} already: give one of them another name")
        files[file.name] = file
    return list(files.values())


def read_ledger(files: Iterable[Path], tasks: Collection[str] | None = None) -> list[LedgerLine]:
    """The lines of all files, in their order.

    With `tasks`, the names of the tasks that are known, the names of tasks and columns are checked, too. Methods may
    have any name: papers have methods that the harness does not have.

    Raises BenchError with every fault of every file: its line, and what was expected there.
    """
    lines: list[LedgerLine] = []
    problems: list[str] = []
    for file in files:
        try:
            with file.open(newline="", encoding="utf-8-sig") as stream:
                _read(file, csv.DictReader(stream, strict=True), tasks, lines, problems)
        except UnicodeDecodeError:
            problems.append(f"{file}: is no text in UTF-8, which a file of published numbers must be")
    if problems:
        raise BenchError("\n".join(problems))
    return lines


def _read(
    file: Path,
    reader: csv.DictReader[str],
    tasks: Collection[str] | None,
    lines: list[LedgerLine],
    problems: list[str],
) -> None:
    """Add what the file holds to `lines`, and what is wrong with it to `problems`."""
    row: Mapping[str, str]
    try:
        names = reader.fieldnames or ()
        missing = [name for name in REQUIRED_COLUMNS if name not in names]
        if missing:
            problems.append(f"{file}:1: column {missing[0]!r} is missing; expected {', '.join(REQUIRED_COLUMNS)}")
            return
        if tasks is not None:
            problems += [
                f"{file}:1: unknown column {name!r}{nearest(name, COLUMNS)}" for name in names if name not in COLUMNS
            ]
        for row in reader:
            try:
                lines.append(_parse(file, reader.line_num, row, tasks))
            except ValueError as error:
                problems.append(f"{file}:{reader.line_num}: {error}")
    except csv.Error as error:
        # The reader counts the lines of whole rows, so the fault is in what follows them.
        problems.append(f"{file}:{reader.line_num + 1}: is no CSV: {error}")


def _parse(file: Path, line: int, row: Mapping[str, str], tasks: Collection[str] | None) -> LedgerLine:
    """The line that a row of the file holds. Raises ValueError with what is wrong and what was expected."""
    # The reader marks a row that is too long with the key None, and one that is too short with the value None.
    if None in row or None in row.values():
        raise ValueError("has more or fewer fields than the file has columns")
    field = {name: text.strip() for name, text in row.items()}
    for name in ("source", "task", "metric", "method"):
        if not field[name]:
            raise ValueError(f"column {name!r} is empty; expected a name")
    unit = field["unit"]
    if unit not in SCORE_UNITS and unit not in OTHER_UNITS:
        raise ValueError(f"unit {unit!r}: expected one of {', '.join((*SCORE_UNITS, *OTHER_UNITS))}")
    own = OWN_FACTS.get(field["metric"])
    if unit in SCORE_UNITS and own is not None and (unit == AS_IT_IS) == own.in_points:
        wanted = ", ".join(POINTS_PER_UNIT) if own.in_points else AS_IT_IS
        raise ValueError(f"unit {unit!r} of {own.key}: expected {'one of ' * own.in_points}{wanted}")
    for name, valid in (("protocol", PROTOCOLS), ("quality", QUALITIES)):
        value = field.get(name, "")
        if value and value not in valid:
            raise ValueError(f"{name} {value!r}: expected one of {', '.join(valid)}{_meant(value, valid)}")
    if field.get("average_rule"):
        try:
            parse_rule(field["average_rule"])
        except ValueError as error:
            raise ValueError(f"average_rule: {error}") from error
    if tasks is not None and field["task"] not in (*tasks, ALL_TASKS) and not _AVERAGE.fullmatch(field["task"]):
        raise ValueError(f"unknown task {field['task']!r}{nearest(field['task'], (*tasks, ALL_TASKS))}")
    points, digits = _points(field["value"], unit)
    return LedgerLine(
        file=file,
        line=line,
        source=field["source"],
        table=field["table"],
        task=field["task"],
        split=field.get("split", ""),
        metric=field["metric"],
        backbone=field.get("backbone", ""),
        method=field["method"],
        budget=field["budget"],
        points=points,
        digits=digits,
        seeds=field["seeds"],
        remark=field["remark"].rstrip("."),
        **{name: field.get(name, "") for name in LEDGER_COLUMNS},
    )


def _points(text: str, unit: str) -> tuple[float | None, int]:
    """The number in points, None if its unit is none of scores, and how many decimals of it are printed."""
    try:
        value = float(text)
    except ValueError as error:
        raise ValueError(f"value {text!r} is no number") from error
    if not math.isfinite(value):
        raise ValueError(f"value {text!r} is no number")
    if unit in OTHER_UNITS:
        return None, 0
    digits = len(text.partition(".")[2]) - (2 if unit == "fraction" else 0)
    return value * POINTS_PER_UNIT.get(unit, 1.0), max(0, digits)


def _meant(value: str, valid: Collection[str]) -> str:
    """The nearest of a few names that are listed already; empty if none is near."""
    hint = nearest(value, valid)
    return hint if "did you mean" in hint else ""
