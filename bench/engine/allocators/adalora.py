"""AdaLoRA's allocator (Zhang et al. 2023, algorithm 1): it prunes the least important ranks as the budget shrinks.

Between two masks pruned singular values train on and may grow back, as in PEFT: the next mask decides again. At
`RankSchedule.freezes_at` the last mask is taken for good.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bench.engine.allocators.base import Allocator, StepFacts
from bench.engine.allocators.cut import Cut
from bench.engine.allocators.scores import Score, Sensitivity
from bench.engine.flat import FlatParameters
from bench.engine.layout import Kept, Layout
from bench.engine.options import AllocatorOptions, BudgetUnit
from bench.engine.schedule import RankSchedule


def adalora(flat: FlatParameters, schedule: RankSchedule, options: AllocatorOptions) -> Allocator:
    """AdaLoRA's allocator with the importance and the unit of `options`."""
    score = partial(
        Sensitivity,
        kind=options.importance,
        betas=options.importance_betas,
        gradient=options.importance_gradient,
    )
    return AdaLora(flat, schedule, score, unit=options.unit, compact=options.compact)


class AdaLora(Allocator):
    """Prunes the singular values of `flat` to the budgets of `schedule`, which are counted in `unit`.

    score: makes from `flat` what ranks are chosen by; AdaLoRA's importance by default. As a model is copied and pickled
    with its core, so must it be. compact: ranks that the last mask prunes leave the flat parameters.
    """

    def __init__(
        self,
        flat: FlatParameters,
        schedule: RankSchedule,
        score: Callable[[FlatParameters], Score] = Sensitivity,
        *,
        unit: BudgetUnit = "ranks",
        compact: bool = True,
    ) -> None:
        self._flat, self._schedule, self._compact = flat, schedule, compact
        self._cut = Cut(flat, unit)
        self._new_score = score
        self._score = score(flat) if schedule.prunes else None
        self._mask: Tensor | None = None  # the last mask, until the ranks that it prunes leave the layout
        self._decided = 0  # the step after which it was chosen
        self.frozen = False

    def after_step(self, step: int, facts: StepFacts) -> bool:
        if not self._schedule.prunes:
            return False
        if self.frozen:
            self._prune()  # AdamW's moments would move pruned singular values away from zero, if they are still held
            return False
        final = step >= self._schedule.freezes_at  # `>=`: a resumed or skipped step must not miss the freeze
        if self._score is not None:
            self._score.update(facts, final=final)
        if not final and not self._schedule.is_mask_step(step):
            return False
        self._mask, self._decided = self.mask(step), step
        self._prune()
        if final:
            self.frozen, self._score = True, None  # its buffers are not needed any more
        return True

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def mask(self, step: int) -> Tensor | None:
        budget = self._schedule.budget(step)
        if self.frozen or self._score is None or step == self._decided:
            return self._mask
        if budget >= self._schedule.initial_budget:
            return None  # before the first decrease every rank lives; sorting would be wasted
        return self._cut.mask(self._score.of_triplets(), budget)

    def kept(self) -> Kept | None:
        if not (self.frozen and self._compact) or self._mask is None:
            return None
        return self._flat.layout.kept_by(self._mask.tolist())

    def follow_layout(self, old: Layout) -> None:  # noqa: ARG002
        self._mask = None  # what it pruned has left the layout

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {} if self._score is None else self._score.state()
        if self._mask is not None:
            tensors["mask"] = self._mask
        return tensors, {"frozen": self.frozen}

    def load(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        self.frozen = bool(plain["frozen"])
        scored = self._schedule.prunes and not self.frozen
        self._score = self._new_score(self._flat) if scored else None
        self._decided = 0
        if self._score is not None:
            self._score.load(tensors)
        self._mask = tensors["mask"].to(self._flat.device) if "mask" in tensors else None

    def bytes(self) -> int:
        return self._score.bytes() if self._score else 0

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def _prune(self) -> None:
        if self._mask is not None:
            self._flat.singular.mul_(self._mask)
