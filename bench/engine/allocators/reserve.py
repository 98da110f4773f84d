"""IncreLoRA with its reserve ranks (Zhang et al. 2023, arXiv 2308.12043, "advance learning").

Each matrix that may still grow holds one rank more than it counts. Its singular value is held at 1e-5, so it hardly
changes an output, but its row of A and its column of B get gradients: small ones, whose size Adam takes out. When the
matrix grows, this trained rank begins to count, its singular value trains from then on, and another reserve enters. The
budget counts no reserve, evaluation and saved files have none, and when growth ends all of them leave.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.engine.allocators.base import Allocator, StepFacts
from bench.engine.allocators.growing import IncreLora, growth_of
from bench.engine.allocators.triggers import AtSteps, Trigger
from bench.engine.flat import FlatParameters
from bench.engine.layout import Kept
from bench.engine.options import AllocatorOptions, GrowthOptions
from bench.engine.schedule import RankSchedule

RESERVED = 1e-5  # the singular value of a reserve rank in the authors' code


class IncreLoraReserve(IncreLora):
    """Grows as `IncreLora` does, by ranks that have trained beside the others of `flat` before they count."""

    def __init__(
        self, flat: FlatParameters, growth: GrowthOptions, trigger: Trigger, cap: int, betas: tuple[float, float]
    ) -> None:
        later = [rank >= growth.start_rank for _, rank in flat.layout.ranks_of_triplets]
        with torch.no_grad():
            flat.singular.masked_fill_(torch.tensor(later, device=flat.device), RESERVED)
        flat.fold()
        super().__init__(flat, growth, trigger, cap, betas)  # new ranks get the values that `flat` has now
        self._held: tuple[Kept, list[int]] = ((), [])  # the layout and the ranks that `_counted` is of
        self._counted: Tensor = torch.zeros(0)

    def after_step(self, step: int, facts: StepFacts) -> bool:
        if self.frozen:
            return False
        self._hold()
        changed = super().after_step(step, facts)
        return changed or self.frozen  # once growth has ended, the reserves leave

    def mask(self, step: int) -> Tensor | None:  # noqa: ARG002
        if self.frozen:
            return None
        layout = self._flat.layout
        if self._held != (layout.kept, self._ranks):
            counted = [rank < self._ranks[site] for site, rank in layout.ranks_of_triplets]
            self._counted = torch.tensor(counted, device=self._flat.device)
            self._held = (layout.kept, list(self._ranks))
        return self._counted

    def kept(self) -> Kept | None:
        spare = 0 if self.frozen else 1
        pairs = zip(self._ranks, self._full.ranks, strict=True)
        return tuple(tuple(range(min(rank + spare, most))) for rank, most in pairs)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def _hold(self) -> None:
        """The optimizer moves all singular values; those of the reserves stay where they were."""
        counted = self.mask(0)
        if counted is not None:
            self._flat.singular.masked_fill_(~counted, RESERVED)


def increlora_reserve(flat: FlatParameters, schedule: RankSchedule, options: AllocatorOptions) -> Allocator:
    """The most important matrices grow at every check, by ranks that have trained in advance."""
    growth = growth_of(options)
    every_check = AtSteps(growth.checks, "the most important matrices")
    return IncreLoraReserve(flat, growth, every_check, schedule.target_budget, options.importance_betas)
