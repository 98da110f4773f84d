"""A run as a picture on a terminal: counts, bars, running cells. A function of the state alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from bench.progress.state import CellProgress, Snapshot, in_words, left_in_words

BAR = 24  # columns of a bar
VALUES, LEAST_NAME = 40, 20  # columns that the values of a running cell take, and those that its name keeps
FEWEST_ROWS = 3  # for running cells, on however small a terminal


def picture(snapshot: Snapshot, width: int, height: int) -> RenderableType:
    """`snapshot` on `width` columns and at most `height` lines, or a few more on a terminal that is very small."""
    counts = _counts(snapshot)
    doing = [Text(text, no_wrap=True, overflow="ellipsis") for text in snapshot.doing]
    around = counts.row_count + len(doing) + 3  # title, heads of columns, what is not shown
    rows = _rows(snapshot.cells, width, max(FEWEST_ROWS, height - around))
    return Group(_title(snapshot), counts, *doing, *rows)


def _title(snapshot: Snapshot) -> Text:
    title = Text(snapshot.study, style="bold", no_wrap=True, overflow="ellipsis")
    for text in (snapshot.clock, left_in_words(snapshot)):
        title.append(f"  {text}" if text else "", style="not bold")
    return title


def _counts(snapshot: Snapshot) -> Table:
    """A bar for the trials of a study that tunes, and one for its final cells."""
    table = Table.grid(
        Column(no_wrap=True), Column(width=BAR), Column(no_wrap=True, overflow="ellipsis"), padding=(0, 1)
    )
    for what, cells in (("trials", snapshot.trials), ("cells", snapshot.final_cells)):
        if not cells:
            continue
        stages = Counter(cell.stage for cell in cells)
        ended = stages["done"] + stages["failed"]
        parts = [f"{stages['done']} of {len(cells)} done"]
        parts += [f"{stages[stage]} {stage}" for stage in ("failed", "running", "starting", "queued") if stages[stage]]
        table.add_row(
            what, ProgressBar(len(cells), ended, BAR, complete_style="green", finished_style="green"), ", ".join(parts)
        )
    return table


def _rows(cells: Sequence[CellProgress], width: int, most: int) -> list[RenderableType]:
    """A table of the running cells; at most `most` of them, those that are nearest to their end."""
    active = [cell for cell in cells if cell.stage in ("running", "starting")]
    if not active:
        return []
    active.sort(key=lambda cell: (cell.stage != "running", cell.left is None, cell.left or 0.0))
    shown = active if len(active) <= most else active[: most - 1]
    table = Table(
        Column("running", overflow="ellipsis", no_wrap=True, max_width=max(LEAST_NAME, width - VALUES)),
        *(Column(name, justify="right", no_wrap=True) for name in ("step", "loss", "ranks/cap", "left")),
        box=None,
        padding=(0, 2, 0, 0),
        header_style="dim",
    )
    for cell in sorted(shown, key=lambda cell: cell.id):
        table.add_row(cell.id, *_values(cell))
    more = len(active) - len(shown)
    return [table, *([Text(f"and {more} more that run", style="dim")] if more else [])]


def _values(cell: CellProgress) -> tuple[str, str, str, str]:
    if cell.stage == "starting":
        return "starts", "", "", ""
    step = f"{cell.step}/{cell.steps}" if cell.steps else str(cell.step)
    loss = "" if cell.loss is None else f"{cell.loss:.3f}"
    ranks = "" if cell.ranks is None else f"{cell.ranks}/{cell.cap}" if cell.cap else str(cell.ranks)
    if cell.step and cell.step == cell.steps:  # its adapter is saved and scored
        return step, loss, ranks, "scoring"
    return step, loss, ranks, "" if cell.left is None else in_words(cell.left)
