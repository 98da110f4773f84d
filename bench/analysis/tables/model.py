"""The one table model. `render.py` writes it as Markdown, CSV, LaTeX and HTML."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from bench.analysis.wording import DASH, TIE, count_text, number_text


@dataclass(frozen=True)
class Entry:
    """One field of a table.

    Attributes:
        text: the field as it is read.
        value, spread, n: the number, its standard deviation and its sample size, for CSV and sorting.
        low, high: the bounds of an interval.
        remark: in words, which seeds failed or are missing.
        tie: whether the method cannot be told apart from the best.
    """

    text: str
    value: float | None = None
    spread: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    remark: str = ""
    bold: bool = False
    tie: bool = False

    @property
    def main(self) -> str:
        """Without the remark, unless there is nothing else."""
        return (self.text or self.remark) + (f" {TIE}" if self.tie else "")

    @property
    def shown(self) -> str:
        """Text, remark and the mark of a tie, without emphasis."""
        return ", ".join(part for part in (self.text, self.remark) if part) + (f" {TIE}" if self.tie else "")


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        group: a heading over this and neighboring columns.
        head: whether the column names the row; such columns come first.
        measured: whether CSV writes mean, sd and n in columns of their own.
        interval: whether CSV writes difference, low, high and n in columns of their own.
        unit: of its numbers, where the name does not say it; shown in the heading of HTML tables.
        parts: which other parts CSV writes in columns of their own, such as low and high; "" is the value itself.
    """

    name: str
    group: str = ""
    head: bool = False
    measured: bool = False
    interval: bool = False
    parts: tuple[str, ...] = ()
    unit: str = ""

    @property
    def full_name(self) -> str:
        return f"{self.name}, {self.group}" if self.group else self.name


@dataclass(frozen=True)
class ColumnGroup:
    """Neighboring columns under one heading (empty: under none), by their numbers, counted from 1."""

    name: str
    first: int
    last: int

    @property
    def span(self) -> int:
        return self.last - self.first + 1


@dataclass(frozen=True)
class Table:
    """`name` is that of its files."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Entry, ...], ...]
    footnotes: tuple[str, ...] = ()

    @property
    def heads(self) -> int:
        """How many columns name the row."""
        return sum(column.head for column in self.columns)

    @property
    def breaks(self) -> frozenset[int]:
        """The rows, counted from 0, that begin with another text than the one before; empty if all of them do."""
        firsts = [row[0].shown for row in self.rows]
        breaks = {number for number in range(1, len(firsts)) if firsts[number] != firsts[number - 1]}
        return frozenset(breaks if len(breaks) < len(firsts) - 1 else ())

    @property
    def groups(self) -> list[ColumnGroup]:
        """The groups in the order of the columns; empty if no column has one."""
        groups: list[ColumnGroup] = []
        for number, column in enumerate(self.columns, start=1):
            if groups and groups[-1].name == column.group:
                groups[-1] = ColumnGroup(column.group, groups[-1].first, number)
            else:
                groups.append(ColumnGroup(column.group, number, number))
        # Without any named group the row of headings is left out altogether.
        return groups if any(group.name for group in groups) else []


def text_entry(text: str) -> Entry:
    return Entry(text)


def count_entry(value: float | None) -> Entry:
    """As `count_text` writes it, or a dash."""
    return Entry(DASH) if value is None else Entry(count_text(value), float(value))


def number_entry(value: float | None, digits: int = 2) -> Entry:
    return Entry(DASH) if value is None else Entry(number_text(value, digits), value)


def summary_entry(numbers: Sequence[float], digits: int = 2, remark: str = "", *, usual: int | None = None) -> Entry:
    """'mean ± sd (n)', without the n where it is the `usual` one. One number has no sd.

    Without any number only the remark is shown, or a dash with (0).
    """
    if not numbers:
        return Entry("" if remark else f"{DASH} (0)", n=0, remark=remark)
    average, spread = mean(numbers), stdev(numbers) if len(numbers) > 1 else None
    text = number_text(average, digits) + ("" if spread is None else f" ± {number_text(spread, digits)}")
    if len(numbers) != usual:
        text += f" ({len(numbers)})"
    return Entry(text, average, spread, n=len(numbers), remark=remark)


def spread_entry(
    numbers: Sequence[float], write: Callable[[float], str], n: int | None = None, *, always_n: bool = False
) -> Entry:
    """'mean ± sd', without the sd where all numbers agree; a dash without any.

    The count follows in parentheses with `always_n`, or if it is not the `n` of the row.
    """
    if not numbers:
        return Entry(DASH, n=0)
    average, spread = mean(numbers), stdev(numbers) if len(numbers) > 1 else None
    text = write(average) + (f" ± {write(spread)}" if spread else "")
    if always_n or n not in (None, len(numbers)):
        text += f" ({len(numbers)})"
    return Entry(text, average, spread, n=len(numbers))
