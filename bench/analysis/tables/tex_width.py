"""How wide a LaTeX table is: an estimate from its texts, by which the largest size of type is chosen that fits a page.

The widths are those of Computer Modern, rounded up.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from bench.analysis.tables.model import Entry, Table

TEXT_WIDTH = 345.0  # points: article's, at its default size of type and on either paper
COLUMN_GAP = 4.0  # points: twice the \tabcolsep of table.tex
SIZES = {"small": 0.93, "footnotesize": 0.86, "scriptsize": 0.80}  # of a character, as a share of its normal size
BOLD = 1.16  # of a character in bold, likewise
# Points at the normal size, ten points.
WIDTHS: Mapping[str, float] = MappingProxyType(
    {
        **dict.fromkeys("ijlI,.:;'[]", 2.8),
        **dict.fromkeys("fts -", 4.0),
        **dict.fromkeys("r()IJ", 4.0),
        **dict.fromkeys("ceoagz0123456789/", 5.0),
        **dict.fromkeys("bdhnpquvxykS", 5.6),
        **dict.fromkeys("LZFPE", 6.9),
        **dict.fromkeys("wABCDGHKNOQRTUVXY+−±≈×<>=≥≤&", 7.9),
        **dict.fromkeys("mM%", 9.2),
        **dict.fromkeys("W—", 10.3),
        " ": 3.4,
    }
)
OTHER = 7.9


def size_of(table: Table) -> str | None:
    """The command of the largest size of type in which the table fits the width of a page; None if none does."""
    full = _width(table)
    gaps = COLUMN_GAP * (len(table.columns) - 1)
    return next((size for size, share in SIZES.items() if share * full + gaps <= TEXT_WIDTH), None)


def _width(table: Table) -> float:
    """Of all columns at the normal size, without the gaps between them."""
    widths = [
        max(text_width(column.name), *map(_entry_width, column_entries), 0.0)
        for column, column_entries in zip(
            table.columns, zip(*table.rows, strict=True) if table.rows else [()] * len(table.columns), strict=True
        )
    ]
    for group in table.groups:  # a heading over several columns may be wider than they are
        lacking = text_width(group.name) - sum(widths[group.first - 1 : group.last]) - COLUMN_GAP * (group.span - 1)
        widths[group.last - 1] += max(0.0, lacking)
    return sum(widths)


def text_width(text: str) -> float:
    """In points at the normal size."""
    return sum(WIDTHS.get(character, OTHER) for character in text)


def _entry_width(entry: Entry) -> float:
    return text_width(entry.shown) * (BOLD if entry.bold else 1.0)
