"""The allocators by name. To add one: a class that derives from `base.Allocator`, and one line in `ALLOCATORS`.

A method's YAML file names its allocator; `bench.config.method` lists the names that are allowed there.
"""

from __future__ import annotations

from collections.abc import Callable

from bench.engine.allocators.adalora import AdaLora
from bench.engine.allocators.base import Allocator, Fixed
from bench.engine.allocators.growing import Growing, IncreLora
from bench.engine.allocators.triggers import AtSteps, Plateau, at_random, evenly
from bench.engine.flat import FlatParameters
from bench.engine.options import AllocatorOptions, GrowthOptions
from bench.engine.schedule import RankSchedule
from bench.errors import BenchError, nearest

Builder = Callable[[FlatParameters, RankSchedule, AllocatorOptions], Allocator]


def build_allocator(flat: FlatParameters, schedule: RankSchedule, options: AllocatorOptions) -> Allocator:
    """The allocator that `options` name. Raises BenchError if there is none of that name."""
    if options.name not in ALLOCATORS:
        raise BenchError(f"unknown allocator {options.name!r}{nearest(options.name, ALLOCATORS)}")
    return ALLOCATORS[options.name](flat, schedule, options)


def _fixed(_flat: FlatParameters, _schedule: RankSchedule, _options: AllocatorOptions) -> Allocator:
    return Fixed()


def _adalora(flat: FlatParameters, schedule: RankSchedule, options: AllocatorOptions) -> Allocator:
    return AdaLora(
        flat,
        schedule,
        unit=options.unit,
        importance=options.importance,
        betas=options.importance_betas,
        gradient=options.importance_gradient,
        compact=options.compact,
    )


def _plateau(flat: FlatParameters, schedule: RankSchedule, options: AllocatorOptions) -> Allocator:
    growth = _growth(options)
    return Growing(flat, growth, Plateau(growth.patience, growth.margin), schedule.target_budget)


def _interval(flat: FlatParameters, schedule: RankSchedule, options: AllocatorOptions) -> Allocator:
    growth = _growth(options)
    steps = evenly(sorted(growth.checks), _growths_needed(flat, growth, schedule))
    return Growing(flat, growth, AtSteps(steps, "evenly spread steps"), schedule.target_budget)


def _random(flat: FlatParameters, schedule: RankSchedule, options: AllocatorOptions) -> Allocator:
    growth = _growth(options)
    steps = at_random(sorted(growth.checks), _growths_needed(flat, growth, schedule), options.seed)
    return Growing(flat, growth, AtSteps(steps, "random steps"), schedule.target_budget)


def _increlora(flat: FlatParameters, schedule: RankSchedule, options: AllocatorOptions) -> Allocator:
    growth = _growth(options)
    every_check = AtSteps(growth.checks, "the most important matrices")
    return IncreLora(flat, growth, every_check, schedule.target_budget, options.importance_betas)


def _growth(options: AllocatorOptions) -> GrowthOptions:
    if options.growth is None:
        raise BenchError(f"allocator {options.name!r} lets ranks grow: it needs growth options")
    return options.growth


def _growths_needed(flat: FlatParameters, growth: GrowthOptions, schedule: RankSchedule) -> int:
    """How many growths fill the budget, if every matrix grows alike."""
    missing = schedule.target_budget // len(flat.layout.sites) - growth.start_rank
    return -(-missing // growth.ranks_per_growth)


ALLOCATORS: dict[str, Builder] = {
    "fixed": _fixed,
    "adalora": _adalora,
    "plateau": _plateau,
    "interval": _interval,
    "random": _random,
    "increlora": _increlora,
}
