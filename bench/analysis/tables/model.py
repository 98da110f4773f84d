"""The one table model. `render.py` writes it as Markdown, CSV, LaTeX and HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

DASH = "—"
TIE = "≈"


@dataclass(frozen=True)
class Entry:
    """One field: `text` as it is read, numbers for CSV and sorting (low, high: of an interval), `remark`: in words what
    failed or is missing."""

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
    def shown(self) -> str:
        """Text, remark and mark of a tie, without emphasis."""
        parts = [self.text, self.remark] if self.text else [self.remark]
        return ", ".join(part for part in parts if part) + (f" {TIE}" if self.tie else "")


@dataclass(frozen=True)
class Column:
    """`group`: a heading over several columns; `head`: names the row; `measured`: CSV writes mean, sd and n apart;
    `interval`: it writes difference, low, high and n."""

    name: str
    group: str = ""
    head: bool = False
    measured: bool = False
    interval: bool = False

    @property
    def full(self) -> str:
        return f"{self.name}, {self.group}" if self.group else self.name


@dataclass(frozen=True)
class Table:
    """`name` is the file's. Heads come first among the columns; footnotes stand below."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Entry, ...], ...]
    footnotes: tuple[str, ...] = ()

    @property
    def heads(self) -> int:
        return sum(column.head for column in self.columns)

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Headings over the columns, with how many each spans; empty where no column has one."""
        spans: list[tuple[str, int]] = []
        for column in self.columns:
            if spans and spans[-1][0] == column.group:
                spans[-1] = (column.group, spans[-1][1] + 1)
            else:
                spans.append((column.group, 1))
        return spans if any(column.group for column in self.columns) else []


def words(text: str) -> Entry:
    return Entry(text)


def count(value: float | None) -> Entry:
    """A whole number with thousands separated; one decimal where it is a mean that is not whole."""
    if value is None:
        return Entry(DASH)
    return Entry(f"{value:,.0f}" if value == int(value) else f"{value:,.1f}", float(value))


def number(value: float | None, digits: int = 2) -> Entry:
    return Entry(DASH) if value is None else Entry(f"{value:.{digits}f}".replace("-", "−"), value)


def summary(numbers: Sequence[float], digits: int = 2, remark: str = "") -> Entry:
    """'mean ± sd (n)'; one value has no spread; none is the remark alone, or a dash with (0)."""
    if not numbers:
        return Entry("" if remark else f"{DASH} (0)", n=0, remark=remark)
    average, spread = mean(numbers), stdev(numbers) if len(numbers) > 1 else None
    text = f"{average:.{digits}f}" + ("" if spread is None else f" ± {spread:.{digits}f}")
    return Entry(f"{text} ({len(numbers)})".replace("-", "−"), average, spread, n=len(numbers), remark=remark)
