"""Ranks that are trained uniformly and cut once, where the singular values of the update are smallest.

Every matrix trains at the initial rank. Then its update B A (B E A where the adapter has singular values) is written as
U S V^T, the singular values of all matrices together are cut to the target budget, and

    A = sqrt(S) V^T, B = U sqrt(S)        (with singular values: A = V^T, E = S, B = U)

of the values that stay is the best approximation of each update at its new rank (Eckart and Young 1936). The allocation
is that of PARA (Kumaravelu et al. 2026, arXiv 2604.27796): one threshold for the singular values of all layers. PARA
compresses a finished adapter, as `truncated_end` does; `truncated` cuts at `RankSchedule.freezes_at` and trains on.

PARA's authors had not published code when this was written, so nothing here is checked against it. The threshold
follows from the budget. Both factors get sqrt(S), because both are trained on. The scale alpha / r is left out of the
scores: it is the same for every matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bench.engine.allocators.base import Allocator, StepFacts
from bench.engine.allocators.cut import Cut
from bench.engine.flat import FlatParameters
from bench.engine.layout import Kept
from bench.engine.options import AllocatorOptions, BudgetUnit
from bench.engine.schedule import RankSchedule


class Truncated(Allocator):
    """Cuts the ranks of `flat` to the schedule's target budget, in `unit`, after the optimizer step `at`.

    All ranks live until then, whatever the schedule allows in between. The ranks that stay mean something else after
    the cut, so AdamW's moments and step counts of them begin anew. It costs nothing but one decomposition per matrix.
    """

    def __init__(self, flat: FlatParameters, schedule: RankSchedule, *, unit: BudgetUnit, at: int) -> None:
        self._flat, self._schedule, self._unit, self._at = flat, schedule, unit, at
        self._kept: Kept | None = None  # set by the cut; what a checkpoint needs of it stands in the layout
        self.frozen = False

    def after_step(self, step: int, facts: StepFacts) -> bool:  # noqa: ARG002
        # `>=`: a resumed training must not miss the cut, as an exact comparison would.
        if self.frozen or not self._schedule.prunes or step < self._at:
            return False
        scores = self._change_basis()
        mask = Cut(self._flat, self._unit).mask(scores, self._schedule.target_budget)
        self._kept, self.frozen = self._flat.layout.kept_by(mask.tolist()), True
        return True

    def kept(self) -> Kept | None:
        return self._kept

    def renewed(self) -> Kept | None:
        return self._kept

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {}, {"frozen": self.frozen}

    def load(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:  # noqa: ARG002
        self._kept, self.frozen = None, bool(plain["frozen"])

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def _change_basis(self) -> Tensor:
        """Write every update in its singular vectors, largest value first. Returns the singular values [triplets]."""
        flat, layout = self._flat, self._flat.layout
        scores = torch.zeros(layout.triplets, device=flat.device)
        for site, (a, b, *e) in enumerate(flat.factors(flat.data)):
            if not len(a):
                continue
            left, values, right = svd_of_product(b * e[0].t() if e else b, a)
            scores[layout.first_triplets[site] : layout.first_triplets[site] + len(a)] = values
            root = torch.ones_like(values) if e else values.sqrt()
            a.copy_(root.unsqueeze(1) * right)
            b.copy_(left * root)
            if e:
                e[0].copy_(values.unsqueeze(1))
        return scores


def svd_of_product(b: Tensor, a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """U [out, r], S [r] in descending order and V^T [r, in] of the product of b [out, r] and a [r, in].

    The product itself is never formed: with b = Qb Rb and a^T = Qa Ra, the r x r matrix Rb Ra^T has its singular
    values. Computed in float64. Where r exceeds a side of the product, the missing values and vectors are zeros.
    """
    q_b, r_b = torch.linalg.qr(b.double())
    q_a, r_a = torch.linalg.qr(a.t().double())
    u, s, v = torch.linalg.svd(r_b @ r_a.t(), full_matrices=False)
    rank, found = len(a), len(s)
    left, values, right = b.new_zeros(len(b), rank), b.new_zeros(rank), a.new_zeros(rank, a.shape[1])
    left[:, :found], values[:found], right[:found] = q_b @ u, s, v @ q_a.t()
    return left, values, right


def truncated(flat: FlatParameters, schedule: RankSchedule, options: AllocatorOptions) -> Allocator:
    """One cut at AdaLoRA's freeze, after which the training goes on in the new basis."""
    return Truncated(flat, schedule, unit=options.unit, at=schedule.freezes_at)


def truncated_end(flat: FlatParameters, schedule: RankSchedule, options: AllocatorOptions) -> Allocator:
    """One cut after the last step of the schedule: nothing trains on."""
    return Truncated(flat, schedule, unit=options.unit, at=schedule.total_steps)
