"""AdaLoRA's allocator (Zhang et al. 2023, algorithm 1): it prunes the least important ranks as the budget shrinks.

Between two masks pruned singular values train on and may grow back, as in PEFT: the next mask decides again. At
`RankSchedule.freezes_at` the last mask is taken for good.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from bench.engine.allocators.base import Allocator, StepFacts
from bench.engine.allocators.cut import Cut
from bench.engine.flat import FlatParameters
from bench.engine.importance import Importance
from bench.engine.layout import Kept, Layout
from bench.engine.options import AllocatorOptions, BudgetUnit, ImportanceKind
from bench.engine.schedule import RankSchedule


def adalora(flat: FlatParameters, schedule: RankSchedule, options: AllocatorOptions) -> Allocator:
    """AdaLoRA's allocator with the importance and the unit of `options`."""
    return AdaLora(
        flat,
        schedule,
        unit=options.unit,
        importance=options.importance,
        betas=options.importance_betas,
        gradient=options.importance_gradient,
        compact=options.compact,
    )


class AdaLora(Allocator):
    """Prunes the singular values of `flat` to the budgets of `schedule`, which are counted in `unit`.

    gradient: the importance sees gradients after clipping (`clipped`, as published) or before (`raw`). compact: ranks
    that the last mask prunes leave the flat parameters.
    """

    def __init__(
        self,
        flat: FlatParameters,
        schedule: RankSchedule,
        *,
        unit: BudgetUnit = "ranks",
        importance: ImportanceKind = "sensitivity-uncertainty",
        betas: tuple[float, float] = (0.85, 0.85),
        gradient: Literal["clipped", "raw"] = "clipped",
        compact: bool = True,
    ) -> None:
        self._flat, self._schedule = flat, schedule
        self._raw, self._compact = gradient == "raw", compact
        self._cut = Cut(flat, unit)
        self._averages = (importance, betas)
        self._importance = Importance(flat, *self._averages) if schedule.prunes else None
        self._mask: Tensor | None = None  # the last mask, until the ranks that it prunes leave the layout
        self._decided = 0  # the step after which it was chosen
        self.frozen = False

    def after_step(self, step: int, facts: StepFacts) -> bool:
        if not self._schedule.prunes:
            return False
        if self.frozen:
            self._prune()  # AdamW's moments would move pruned singular values away from zero, if they are still held
            return False
        if self._importance is not None and step < self._schedule.freezes_at:
            self._importance.update(facts.finite, facts.clip if self._raw else None, facts.hold)
        # `>=` below: a resumed or skipped step must not miss the freeze, as an exact comparison would.
        if not self._schedule.is_mask_step(step) and step < self._schedule.freezes_at:
            return False
        self._mask, self._decided = self.mask(step), step
        self._prune()
        if step >= self._schedule.freezes_at:
            self.frozen, self._importance = True, None  # the averages are not needed any more
        return True

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def mask(self, step: int) -> Tensor | None:
        budget = self._schedule.budget(step)
        if self.frozen or self._importance is None or step == self._decided:
            return self._mask
        if budget >= self._schedule.initial_budget:
            return None  # before the first decrease every rank lives; sorting would be wasted
        return self._cut.mask(self._importance.of_triplets(), budget)

    def kept(self) -> Kept | None:
        if not (self.frozen and self._compact) or self._mask is None:
            return None
        return self._flat.layout.kept_by(self._mask.tolist())

    def follow_layout(self, old: Layout) -> None:  # noqa: ARG002
        self._mask = None  # what it pruned has left the layout

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {} if self._importance is None else dict(self._importance.tensors)
        if self._mask is not None:
            tensors["mask"] = self._mask
        return tensors, {"frozen": self.frozen}

    def load(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        self.frozen = bool(plain["frozen"])
        averaged = self._schedule.prunes and not self.frozen
        self._importance = Importance(self._flat, *self._averages) if averaged else None
        self._decided = 0
        if self._importance is not None:
            for name, buffer in self._importance.tensors.items():
                buffer.copy_(tensors[name])
        self._mask = tensors["mask"].to(self._flat.device) if "mask" in tensors else None

    def bytes(self) -> int:
        return sum(t.numel() * t.element_size() for t in self._importance.tensors.values()) if self._importance else 0

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def _prune(self) -> None:
        if self._mask is not None:
            self._flat.singular.mul_(self._mask)
