"""Tables in a terminal, by rich: no number is cut, and what many tables note is printed once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from bench.analysis.tables.model import Entry, Table

WIDE_GAP, NARROW_GAP = 2, 1  # blanks between columns


def show_tables(tables: Iterable[Table], console: Console) -> None:
    """Print the tables, each with those of its footnotes that were not printed before."""
    printed: set[str] = set()
    for table in tables:
        console.print(Text(table.title, style="bold"))
        for part in _parts(table, console.width):
            console.print(part, crop=False, overflow="ignore")
        for note in table.footnotes:
            if note not in printed:
                console.print(Text(f"- {note}", style="dim"))
        printed.update(table.footnotes)
        console.print()


def _parts(table: Table, width: int) -> Iterator[RichTable | Text]:
    """The table, or where the terminal is too narrow for it, a part per task under the task's name.

    What has to be folded even then are headings and texts, between words. A word of the body is folded only where there
    is no room for the words alone: a number that is broken over two lines is two numbers to a reader.
    """
    headings = _headings(table)
    texts = [[row[number].shown for row in table.rows] for number in range(len(headings))]
    words = [_longest(word for text in column for word in text.split()) for column in texts]
    titles = [_longest(heading.split()) for heading in headings]
    whole = [max(_longest(column), title) for column, title in zip(texts, titles, strict=True)]
    gap = WIDE_GAP if _total(whole, WIDE_GAP) <= width else NARROW_GAP
    if _total(whole, gap) <= width or not table.breaks:
        yield _rich_table(table, 0, headings, _fit(whole, words, titles, gap, width), gap)
        return
    starts = [0, *sorted(table.breaks), len(table.rows)]
    widths = _fit(whole[1:], words[1:], titles[1:], gap, width)
    for number, (start, end) in enumerate(pairwise(starts)):
        yield Text(table.rows[start][0].shown, style="bold")
        part = Table(table.name, table.title, table.columns, table.rows[start:end])
        yield _rich_table(part, 1, headings, widths, gap, with_header=number == 0)


def _fit(whole: Sequence[int], words: Sequence[int], titles: Sequence[int], gap: int, width: int) -> list[int]:
    """The widths of the columns: those of the words of the body, and of what is left first the headings' words."""
    widths = list(words)
    for wanted in (titles, whole):
        for number, most in enumerate(wanted):
            left = max(0, width - _total(widths, gap))
            widths[number] += min(left, max(0, most - widths[number]))
    return widths


def _rich_table(
    table: Table, first: int, headings: Sequence[str], widths: Sequence[int], gap: int, *, with_header: bool = True
) -> RichTable:
    """The columns from `first` on."""
    made = RichTable(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, gap - 1, 0, 0), show_header=with_header
    )
    for column, heading, width in zip(table.columns[first:], headings[first:], widths, strict=True):
        made.add_column(Text(heading), justify="left" if column.head else "right", overflow="fold", width=max(1, width))
    for number, row in enumerate(table.rows):
        if number in table.breaks:
            made.add_section()
        # The name of a task that fills many rows stands in the first of them alone.
        repeats = bool(table.breaks) and number > 0 and number not in table.breaks
        entries = [_shown(entry) for entry in row]
        made.add_row(*[Text("") if repeats else entries[0], *entries[1:]][first:])
    return made


def _headings(table: Table) -> list[str]:
    """The names of the columns, with their groups where names alone are no names."""
    names = [column.name for column in table.columns]
    if len(set(names)) == len(names):
        return names
    return [f"{column.group} {column.name}" if column.group else column.name for column in table.columns]


def _total(widths: Sequence[int], gap: int) -> int:
    return sum(widths) + gap * (len(widths) - 1)


def _longest(texts: Iterable[str]) -> int:
    return max(map(len, texts), default=0)


def _shown(entry: Entry) -> Text:
    return Text(entry.shown, style="bold" if entry.bold else "")
