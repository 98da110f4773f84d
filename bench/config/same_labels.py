"""Two tasks or two methods of a study with one label: no reader of its tables could tell them apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from bench.config.cell import Cell
from bench.config.method import Method
from bench.config.task import Task
from bench.config.yaml_source import Places, place_of
from bench.errors import Problem


def same_labels(cells: Iterable[Cell], places: Places, file: Path) -> Iterator[Problem]:
    """A problem for each task and each method whose label an earlier one of the study in `file` has."""
    items = [(what, item.name, item.label) for cell in cells for what, item in _labeled(cell)]
    first_names: dict[tuple[str, str], str] = {}
    for what, name, label in dict.fromkeys(items):
        first = first_names.setdefault((what, label), name)
        if first != name:
            message = f"{what}s {first!r} and {name!r} have the same label {label!r}: change it in one of their files"
            yield Problem(file, message, *place_of(places, (f"{what}s",)))


def _labeled(cell: Cell) -> tuple[tuple[str, Task | Method], ...]:
    return ("task", cell.task), ("method", cell.method)
