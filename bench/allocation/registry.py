"""The allocators by the name that a method gives them. To add one: a class as in `base.Allocator`, and a line here."""

from __future__ import annotations

from collections.abc import Callable

from bench.allocation.adalora import AdaLora
from bench.allocation.base import Allocator
from bench.allocation.fixed import Fixed
from bench.models.flat import FlatParameters
from bench.spec.cell import Cell
from bench.spec.schedule import Schedule


def _fixed(_flat: FlatParameters, _cell: Cell, _schedule: Schedule) -> Allocator:
    return Fixed()


def _adalora(flat: FlatParameters, cell: Cell, schedule: Schedule) -> Allocator:
    return AdaLora(
        flat,
        schedule,
        unit=cell.method.unit,
        importance=cell.method.importance,
        betas=cell.recipe.importance_betas,
        gradient=cell.method.importance_gradient,
    )


ALLOCATORS: dict[str, Callable[[FlatParameters, Cell, Schedule], Allocator]] = {"fixed": _fixed, "adalora": _adalora}


def allocator_of(flat: FlatParameters, cell: Cell, schedule: Schedule) -> Allocator:
    """The allocator that the cell's method names (the spec has refused unknown names)."""
    return ALLOCATORS[cell.method.allocator](flat, cell, schedule)
