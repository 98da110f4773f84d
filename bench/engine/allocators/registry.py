"""From the name of an allocator to the allocator itself; the names stand in `names.ALLOCATORS`."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import cast

from bench.engine.allocators.base import Allocator
from bench.engine.allocators.names import ALLOCATORS
from bench.engine.flat import FlatParameters
from bench.engine.options import AllocatorOptions
from bench.engine.schedule import RankSchedule
from bench.errors import BenchError, nearest

Builder = Callable[[FlatParameters, RankSchedule, AllocatorOptions], Allocator]


def build_allocator(flat: FlatParameters, schedule: RankSchedule, options: AllocatorOptions) -> Allocator:
    """The allocator that `options` name. Raises BenchError if there is none of that name."""
    if options.name not in ALLOCATORS:
        raise BenchError(f"unknown allocator {options.name!r}{nearest(options.name, ALLOCATORS)}")
    module, function = ALLOCATORS[options.name].build.split(":")
    builder = cast(Builder, getattr(import_module(f"bench.engine.allocators.{module}"), function))
    return builder(flat, schedule, options)
