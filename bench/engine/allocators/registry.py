"""The allocators by the name that a method gives them. To add one: a class as in `base.Allocator`, and a line here."""

from __future__ import annotations

from collections.abc import Callable

from bench.config.cell import Cell
from bench.config.rank_schedule import Schedule
from bench.engine.allocators.adalora import AdaLora
from bench.engine.allocators.base import Allocator
from bench.engine.allocators.fixed import Fixed
from bench.engine.allocators.growing import Growing, IncreLora
from bench.engine.allocators.triggers import AtSteps, Plateau, Trigger, at_random, evenly
from bench.engine.flat import FlatParameters


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
        compact=cell.method.compact,
    )


def _growing(flat: FlatParameters, cell: Cell, schedule: Schedule) -> Allocator:
    growth = cell.method.growth
    assert growth is not None  # the spec demands it of these allocators
    checks, cap = growth.check_steps(schedule.total_steps), schedule.target_budget
    name = cell.method.allocator
    trigger: Trigger
    if name == "increlora":
        every = AtSteps(checks, "the most important matrices")
        return IncreLora(flat, growth, every, checks, cap, cell.recipe.importance_betas)
    if name == "plateau":
        trigger = Plateau(growth.patience, growth.margin)
    else:
        left = cap // len(flat.layout.sites) - growth.start_rank
        growths = -(-left // growth.ranks)
        even = name == "interval"
        steps = evenly(checks, growths) if even else at_random(checks, growths, cell.seed)
        trigger = AtSteps(steps, "evenly spread steps" if even else "random steps")
    return Growing(flat, growth, trigger, checks, cap)


ALLOCATORS: dict[str, Callable[[FlatParameters, Cell, Schedule], Allocator]] = {
    "fixed": _fixed,
    "adalora": _adalora,
    "plateau": _growing,
    "interval": _growing,
    "random": _growing,
    "increlora": _growing,
}


def allocator_of(flat: FlatParameters, cell: Cell, schedule: Schedule) -> Allocator:
    """The allocator that the cell's method names (the spec has refused unknown names)."""
    return ALLOCATORS[cell.method.allocator](flat, cell, schedule)
