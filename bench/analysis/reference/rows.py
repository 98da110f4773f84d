"""The rows that sources print: the scores of one method at one budget, on several tasks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bench.analysis.reference.ledger import LedgerLine
from bench.errors import BenchError

CORRELATIONS = ("mean_correlation", "pearson", "spearman")
CORRELATION = "correlation"  # of a source that does not say which
TOLERANCE = 1e-9  # between numbers that are printed alike; far below the last printed decimal
_YEAR = re.compile(r"\b(?:19|20)\d\d\b")


@dataclass(frozen=True)
class PrintedRow:
    """A row of a source's table.

    Attributes:
        cells: its scores. averages: the means over tasks that are printed beside them.
        first_split: by task, the split that a score without a split belongs to.
    """

    cells: tuple[LedgerLine, ...]
    averages: tuple[LedgerLine, ...]
    first_split: Mapping[str, str]

    @property
    def head(self) -> LedgerLine:
        return (*self.cells, *self.averages)[0]

    @property
    def name(self) -> str:
        """'Zhang et al. 2025 (RefLoRA): lora, large'."""
        words = [self.head.method] + [self.head.budget] * bool(self.head.budget)
        return f"{self.head.title}: {', '.join(words)}"

    @property
    def year(self) -> int | None:
        """The year in the name of the source, by which rows are ordered; None if it has none."""
        found = _YEAR.search(self.head.source)
        return int(found[0]) if found else None

    @property
    def parameters(self) -> str:
        return next((line.parameters for line in (*self.cells, *self.averages) if line.parameters), "")

    def place(self, line: LedgerLine) -> tuple[str, str]:
        """The task and the split of a score of this row."""
        return line.task, line.split or self.first_split.get(line.task, "")

    def counterpart(self, line: LedgerLine, other: PrintedRow) -> LedgerLine | None:
        """The score of `other` for the same task, split and metric as the score `line` of this row.

        A correlation of which the source does not say which one has that of the other as its counterpart.
        """
        there = {cell.metric: cell for cell in other.cells if other.place(cell) == self.place(line)}
        if line.metric in there:
            return there[line.metric]
        if line.metric == CORRELATION:
            return next((there[name] for name in CORRELATIONS if name in there), None)
        return there.get(CORRELATION) if line.metric in CORRELATIONS else None


def printed_rows(lines: Iterable[LedgerLine], first_split: Mapping[str, str]) -> list[PrintedRow]:
    """The rows that the scores among `lines` belong to, in the order of their first lines.

    Raises BenchError, with both lines, if a row has two numbers in one place.
    """
    by_row: dict[tuple[str, ...], list[LedgerLine]] = {}
    seen: dict[tuple[str, ...], LedgerLine] = {}
    problems = []
    for line in lines:
        if line.points is None:
            continue
        row = (line.source, line.table, line.backbone, line.method, line.budget)
        place = (*row, line.task, line.metric, line.split or first_split.get(line.task, ""))
        if place in seen:
            first = seen[place]
            problems.append(
                f"{line.file}:{line.line}: the same number as {first.file}:{first.line}, a second time; expected one "
                "number per source, table, backbone, method, budget, task, split and metric"
            )
        seen.setdefault(place, line)
        by_row.setdefault(row, []).append(line)
    if problems:
        raise BenchError("\n".join(problems))
    return [
        PrintedRow(
            tuple(line for line in row if line.averaged_tasks is None),
            tuple(line for line in row if line.averaged_tasks is not None),
            first_split,
        )
        for row in by_row.values()
    ]


def same_value(first: LedgerLine, second: LedgerLine) -> bool:
    """Whether both scores are the same number, the one with more decimals rounded to those of the other."""
    assert first.points is not None
    assert second.points is not None
    half_unit = 0.5 * 10.0 ** -min(first.digits, second.digits) if first.digits != second.digits else 0.0
    return abs(first.points - second.points) <= half_unit + TOLERANCE
