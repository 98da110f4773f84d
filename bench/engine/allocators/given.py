"""Ranks that are known before the first step: another training's pattern, a random one, one from the base's weights.

What the pattern is, is decided outside of the engine (`bench.models.patterns`). The layers are made for the largest
rank, as those of an allocator that prunes, so that the scale of the adapter is the same; the flat parameters hold the
first ranks of each matrix from the start.
"""

from __future__ import annotations

from bench.engine.allocators.base import Allocator
from bench.engine.flat import FlatParameters
from bench.engine.layout import Kept
from bench.engine.options import AllocatorOptions
from bench.engine.schedule import RankSchedule
from bench.errors import BenchError


class Given(Allocator):
    """Holds the first `ranks[site]` ranks of each site of `flat`, from the first step to the last.

    Raises BenchError if there is not one rank per site, if a rank is negative or above that of its layer, or if all of
    them together are above the budget of `schedule`, in the unit of `options`.
    """

    frozen = True

    def __init__(self, flat: FlatParameters, schedule: RankSchedule, options: AllocatorOptions) -> None:
        layout, ranks = flat.layout, options.ranks
        if ranks is None or len(ranks) != len(layout.sites):
            found = "none" if ranks is None else len(ranks)
            raise BenchError(
                f"allocator {options.name!r}: expected a rank for each of {len(layout.sites)} matrices, found {found}"
            )
        for site, rank, most in zip(layout.sites, ranks, layout.ranks, strict=True):
            if not 0 <= rank <= most:
                raise BenchError(f"allocator {options.name!r}: {site.name} has rank {rank}, expected 0 to {most}")
        used = sum(rank * cost for rank, cost in zip(ranks, layout.costs(options.unit), strict=True))
        if used > schedule.target_budget:
            raise BenchError(
                f"allocator {options.name!r}: {used} {options.unit} are given, the budget is {schedule.target_budget}"
            )
        self._kept: Kept = tuple(tuple(range(rank)) for rank in ranks)

    def kept(self) -> Kept:
        return self._kept
