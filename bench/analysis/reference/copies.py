"""Rows that a paper took from another one, and the cells in which such a row differs from what it was taken from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.analysis.reference.ledger import MIXED, LedgerLine
from bench.analysis.reference.rows import PrintedRow, same_value
from bench.errors import BenchError, nearest

# Of two rows that were measured apart, hardly ever so many numbers are equal to two decimals.
FEWEST_EQUAL = 3
LEAST_SHARE = 0.5  # of the cells that both rows have


@dataclass(frozen=True)
class CopiedRow:
    """A row, what it is a copy of, and the pairs of their scores: that of the row first, that of the origin second.

    `declared`: whether the ledger says so (`copied_from`); else the equal numbers alone do.
    """

    row: PrintedRow
    origin: PrintedRow
    declared: bool
    equal: tuple[tuple[LedgerLine, LedgerLine], ...]
    different: tuple[tuple[LedgerLine, LedgerLine], ...]

    @property
    def shared(self) -> int:
        return len(self.equal) + len(self.different)

    @property
    def averages(self) -> tuple[float, float] | None:
        """Both averages in points where the rows print different ones of equal scores, else None."""
        if self.different or not (self.row.averages and self.origin.averages):
            return None
        here, there = self.row.averages[0], self.origin.averages[0]
        if here.averaged_tasks != there.averaged_tasks or same_value(here, there):
            return None
        assert here.points is not None
        assert there.points is not None
        return here.points, there.points


def copied_rows(rows: Sequence[PrintedRow]) -> list[CopiedRow]:
    """The rows that are copies of a row of another source: by what the ledger declares, or by their equal numbers.

    A row is recognized as a copy of an earlier one (by the year in the source's name, then by the order of the files)
    for the same backbone and method if at least FEWEST_EQUAL of the numbers and LEAST_SHARE of those that both have
    are equal. Of several it is a copy of the one with most equal numbers, then of the earliest.

    Raises BenchError with file and line if `copied_from` names a source that the ledger does not have, or one without
    a row of that backbone and method.
    """
    problems = [problem for row in rows for problem in _problems(row, rows)]
    if problems:
        raise BenchError("\n".join(problems))
    ages = {id(row): (math.inf if row.year is None else row.year, number) for number, row in enumerate(rows)}
    found = []
    for row in rows:
        declaration = _declaration(row)
        candidates = [
            _compared(row, other, declared=declaration is not None)
            for other in sorted(rows, key=lambda other: ages[id(other)])
            if _alike(row, other)
            and (
                other.head.title == declaration.origin
                if declaration is not None and declaration.origin
                else ages[id(other)] < ages[id(row)]
            )
        ]
        if declaration is None:
            candidates = [
                copy for copy in candidates if len(copy.equal) >= max(FEWEST_EQUAL, LEAST_SHARE * copy.shared)
            ]
        if candidates:
            found.append(max(candidates, key=lambda copy: len(copy.equal)))
    return found


def _declaration(row: PrintedRow) -> LedgerLine | None:
    """The first line of the row that says what it is copied from."""
    return next((cell for cell in row.cells if cell.copied_from), None)


def _alike(row: PrintedRow, other: PrintedRow) -> bool:
    """Whether both are of one method on one backbone, in different sources."""
    return row.head.source != other.head.source and (row.head.backbone, row.head.method) == (
        other.head.backbone,
        other.head.method,
    )


def _compared(row: PrintedRow, origin: PrintedRow, *, declared: bool) -> CopiedRow:
    pairs = [(cell, there) for cell in row.cells if (there := row.counterpart(cell, origin)) is not None]
    equal = tuple(pair for pair in pairs if same_value(*pair))
    return CopiedRow(row, origin, declared, equal, tuple(pair for pair in pairs if pair not in equal))


def _problems(row: PrintedRow, rows: Iterable[PrintedRow]) -> list[str]:
    """What is wrong with the row's declarations."""
    titles = {other.head.title for other in rows}
    problems = []
    declared = {cell.copied_from for cell in row.cells if cell.copied_from}
    for cell in row.cells:
        place, origin = f"{cell.file}:{cell.line}", cell.origin
        if not cell.copied_from:
            continue
        if len(declared) > 1:
            problems.append(f"{place}: copied_from differs between the cells of one row; expected one for all of them")
        elif not origin and not cell.mixed:
            problems.append(f"{place}: copied_from is empty behind its colon; expected SOURCE, TABLE")
        elif origin and origin not in titles:
            problems.append(
                f"{place}: copied_from {origin!r}: no such source and table{nearest(origin, titles)}; expected "
                f"'SOURCE, TABLE' of a row of the ledger, {MIXED!r}, or '{MIXED}: SOURCE, TABLE'"
            )
        elif origin and not any(_alike(row, other) and other.head.title == origin for other in rows):
            problems.append(
                f"{place}: copied_from {origin!r}: has no row of the method {cell.method!r} on "
                f"{cell.backbone or 'the same backbone'}; expected a source that has"
            )
    return problems
