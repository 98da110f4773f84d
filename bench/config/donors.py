"""Whose ranks a cell takes over: the cell of another method, which is trained before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bench.config.catalog import Catalog, Entry
from bench.config.cell import Cell
from bench.config.renamed import suggestion
from bench.config.study import Study
from bench.config.yaml_source import place_of
from bench.errors import Problem

Names = tuple[str, str, str, int]  # task, method, budget, seed


def names_of(cell: Cell) -> Names:
    return cell.task.name, cell.method.name, cell.budget_name, cell.seed


def donor_of(cell: Cell, cells: Mapping[Names, Cell]) -> Cell | None:
    """The cell of `cells` (in the study's order) whose ranks `cell` takes over; None if it takes over none, or if
    there is no such cell.

    `next-task` and `next-seed` go around: the last one takes the first.
    """
    pattern = cell.method.pattern
    if pattern is None or pattern.source is None:
        return None
    if pattern.cell == "same":
        return cells.get((cell.task.name, pattern.source, cell.budget_name, cell.seed))
    candidates = [
        other
        for (task, method, budget, seed), other in cells.items()
        if method == pattern.source
        and budget == cell.budget_name
        and (seed == cell.seed if pattern.cell == "next-task" else task == cell.task.name)
        and other.backbone == cell.backbone
    ]
    keys = [other.task.name if pattern.cell == "next-task" else other.seed for other in candidates]
    own = cell.task.name if pattern.cell == "next-task" else cell.seed
    if own not in keys or len(keys) < 2:
        return None
    return candidates[(keys.index(own) + 1) % len(keys)]


def donor_problems(catalog: Catalog, entry: Entry[Study], cells: Sequence[Cell]) -> Iterator[Problem]:
    """What makes it impossible to take over the ranks of another cell, once per method."""
    by_names = {names_of(cell): cell for cell in cells}
    place = place_of(entry.places, ("methods",))
    faults: dict[str, str] = {}
    for cell in cells:
        name, pattern = cell.method.name, cell.method.pattern
        if name in faults or pattern is None or pattern.source is None:
            continue
        source = catalog.methods.get(pattern.source)
        if source is None:
            fault = f"there is no method {pattern.source!r}{suggestion(pattern.source, catalog.methods)}"
        elif source.item.moves.ranks not in ("pruned", "grown", "moved"):
            fault = f"{pattern.source!r} learns no ranks: its allocator is {source.item.allocator}"
        elif different := _difference(cell, source.item.model_dump()):
            fault = f"its {different}, but it trains as {pattern.source!r} does, but for the ranks"
        elif donor_of(cell, by_names) is None:
            more = "" if pattern.cell == "same" else f", and of a second {pattern.cell.removeprefix('next-')} beside it"
            needed = f"{cell.task.name}/{pattern.source}/{cell.budget_name}/seed-{cell.seed}"
            fault = f"the study needs the cell {needed}{more}"
        else:
            continue
        faults[name] = f"method {name!r} takes the ranks of {pattern.source!r}: {fault}"
    for fault in faults.values():
        yield Problem(entry.file, fault, *place)


def _difference(cell: Cell, source: Mapping[str, object]) -> str:
    """The first of the keys that must agree in which the method of `cell` differs from its source; empty if none."""
    own = cell.method.model_dump()
    for key in ("adapter", "storage", "double_quantization", "matrices", "depth", "unit", "regularizer"):
        if own[key] != source[key]:
            return f"{key} is {own[key]}, not {source[key]}"
    return ""
