"""Ranks pruned by their salience over a window of steps: SalientLoRA, as its authors' code computes it.

Ke et al. 2024 (Unveiling LoRA Intrinsic Ranks via Salience Analysis, NeurIPS 2024) prune AdaLoRA's layers by two
properties of the singular values E in a window of optimizer steps t.

Magnitude. Steps with a small orthogonality penalty R_t count more, because there E is closest to true singular values:

    w_t = (1 / R_t - 1 / max R) / (1 / min R - 1 / max R),    M_i = sum_t w_t |E_i(t)|,

divided by the sum of M over the ranks of the matrix.

Influence. E_j depends on E_i if both correlate and E_j changes more than E_i: with the regression slope of E_j on E_i,

    s_ij = cov(E_i, E_j) / var(E_i) where it is at least `slope` and the correlation at least `correlation`, else 0,
    D_i = sum_j s_ij D_j,    where D_j is 1 if nothing depends on j,

divided by the sum of D over all ranks; a rank on which none depends has no influence of its own. The salience is the
sum of both. Once pruned, a rank stays pruned. The first window has T_0 steps; later ones grow to T_1 along AdaLoRA's
cubic:

    T = round(T_1 + (T_0 - T_1) (1 - c)^3),    budget = r_0 - T / T_1 (r_0 - r_1),

at the end of a window, where c goes from 0 to 1 between the schedule's first and last phase, and r_0 and r_1 are the
budgets at the start and at the end.

What differs from the code, or could not be told from it:

- The paper weighs magnitude and influence by a lambda (0.7). The released code has no such weight, and it is the source
  here: both count alike.
- The code deletes the weakest edges of cycles. With a slope above 1 there are none: s_ij >= slope means that E_j varies
  more than E_i, and no cycle can rise all the way. So D is the solution of a triangular system, in order of variance.
- The code divides by T - t_f where the decay lasts T - t_f - t_i steps, and never reaches its last budget. Here c is
  AdaLoRA's, no budget is above AdaLoRA's, and the last mask at the freeze has exactly the final budget.
- Divisions of 0 by 0 (equal penalties, a matrix without ranks, no dependency at all) give NaN there. Here equal
  penalties weigh 1, and what is divided by a sum of 0 is 0.
- A skipped step fills its place in the window, but counts nowhere. The window is taken once per optimizer step.
- Where ranks cost differently (unit: parameters), the salience per parameter decides, as for AdaLoRA.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bench.engine.allocators.adalora import AdaLora
from bench.engine.allocators.base import Allocator, StepFacts
from bench.engine.allocators.salience import SalientScore
from bench.engine.flat import FlatParameters
from bench.engine.options import AllocatorOptions, BudgetUnit, SalienceOptions
from bench.engine.schedule import RankSchedule
from bench.errors import BenchError


class SalientLora(AdaLora):
    """Prunes the singular values of `flat` at the end of every window, for good."""

    _score: SalientScore | None

    def __init__(
        self,
        flat: FlatParameters,
        schedule: RankSchedule,
        options: SalienceOptions,
        *,
        unit: BudgetUnit = "ranks",
        compact: bool = True,
    ) -> None:
        super().__init__(flat, schedule, partial(SalientScore, options=options), unit=unit, compact=compact)
        self._options, self._left = options, options.first_window  # steps until the window ends

    def after_step(self, step: int, facts: StepFacts) -> bool:
        self._prune()  # what was pruned stays so
        if self._score is None or step <= self._schedule.initial_steps:
            return False
        final = step >= self._schedule.freezes_at
        self._score.update(facts, final=final)
        self._left -= 1
        if self._left > 0 and not final:
            return False
        self._left = self._window(step)
        budget = int(self._saved(self._left / self._options.last_window))
        self._mask = self._masked(self._schedule.target_budget if final else min(budget, self._schedule.budget(step)))
        self._decided = step
        self._prune()
        self._score.begin()
        if final:
            self.frozen, self._score = True, None  # the window is not needed any more
        return True

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def mask(self, step: int) -> Tensor | None:
        budget = self._schedule.budget(step)
        if self._score is None or step == self._decided or budget >= self._schedule.initial_budget:
            return self._mask
        return self._masked(budget)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, plain = super().state()
        return tensors, {**plain, "left": self._left, "decided": self._decided}

    def load(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        super().load(tensors, plain)
        self._left, self._decided = int(plain["left"]), int(plain["decided"])

    def _window(self, step: int) -> int:
        """Steps of the window that begins after `step`."""
        first, last = self._options.first_window, self._options.last_window
        begin, end = self._schedule.initial_steps, self._schedule.freezes_at
        rest = max(0.0, 1 - (step - begin) / (end - begin))
        return round(last + (first - last) * rest**3)

    def _saved(self, share: float) -> float:
        """The budget after `share` of what is to be pruned."""
        return self._schedule.initial_budget - share * (self._schedule.initial_budget - self._schedule.target_budget)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def _masked(self, budget: int) -> Tensor:
        """The most salient ranks within `budget`, none of which was pruned before."""
        assert self._score is not None  # asked for only while ranks are scored
        scores = self._score.of_triplets()
        if self._mask is None:
            return self._cut.mask(scores, budget)
        return self._cut.mask(scores.where(self._mask, torch.full_like(scores, -1.0)), budget) & self._mask


def salientlora(flat: FlatParameters, schedule: RankSchedule, options: AllocatorOptions) -> Allocator:
    """SalientLoRA with the windows and thresholds of `options`. Raises BenchError if the slope is not above 1."""
    salience = options.salience or SalienceOptions()
    if salience.slope <= 1 or not 1 <= salience.first_window <= salience.last_window:
        raise BenchError(
            f"allocator {options.name!r}: expected slope > 1 and 1 <= first_window <= last_window: {salience}"
        )
    return SalientLora(flat, schedule, salience, unit=options.unit, compact=options.compact)
