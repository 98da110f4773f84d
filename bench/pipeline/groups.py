"""Cells that share a job: which, and what the job is called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.config.cell import Cell


@dataclass(frozen=True)
class Group:
    """Cells of one task that one job trains; `name` is its rule's."""

    name: str
    task: str
    cells: tuple[Cell, ...]

    @property
    def places(self) -> str:
        """'method/budget/seed' of each cell, as `bench group --cells` takes them."""
        return " ".join(f"{cell.method.name}/{cell.budget_name}/{cell.seed}" for cell in self.cells)


def groups_of(cells: Sequence[Cell], size: int) -> list[Group]:
    """`cells`, `size` of one task together; none where every cell has a job of its own."""
    found = []
    for task in dict.fromkeys(cell.task.name for cell in cells if size > 1):
        own = [cell for cell in cells if cell.task.name == task]
        parts = [tuple(own[start : start + size]) for start in range(0, len(own), size)]
        found += [Group(f"train_{task}_{number}", task, part) for number, part in enumerate(parts, start=1)]
    return found
