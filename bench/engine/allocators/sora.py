"""SoRA's allocator (Ding et al. 2023, "Sparse Low-rank Adaptation of Pre-trained Language Models", EMNLP 2023).

A gate g, one value per rank, stands between the factors: the update is B diag(g) A. The adapter's singular values E are
the gate. After each optimizer step it takes the proximal step of the penalty lambda |g|_1 (section 3.2 of the paper):

    g_{t+1} = T_{eta_t lambda}(g_t - eta_t grad),        T_xi(x) = sign(x) max(|x| - xi, 0)

A gate at zero still gets a gradient, so its rank may come back. As in the paper g starts as a standard normal draw and
B at zero; the first output is that of the base, as ever.

What differs from the authors' code (TsinghuaC3I/SoRA):

- There lambda decides how many ranks are left. Here the budget does: at `RankSchedule.freezes_at` the ranks with the
  largest |g| that it pays for stay, zeros among them only where there is room, and the others leave. After that the
  gate trains on without penalty.
- Its `SparseAdamW` subtracts a constant, 3e-4 in the published script at a learning rate of 8e-4. Here the threshold is
  eta_t lambda, as in the equation; the variant `sparse_optimizer_multiply_lr.py` does the same.
- A has PEFT's first values for AdaLoRA, N(0, 0.02^2), there Kaiming's. Weight decay reaches the gate as it reaches all
  matrices; there it does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bench.engine.allocators.base import Allocator, StepFacts
from bench.engine.allocators.cut import Cut
from bench.engine.flat import FlatParameters
from bench.engine.layout import Kept, Layout
from bench.engine.options import AllocatorOptions
from bench.engine.schedule import RankSchedule


class Sora(Allocator):
    """Shrinks the gates of `flat` by `options.sparsity` (lambda) and cuts them to the target budget of `schedule`.

    Without `options.compact` the ranks that are cut stay in memory, and their gates are zero after every step. It costs
    four operations on [triplets] per step, and keeps nothing but the mask. Where the budget pays for every rank, the
    gates are shrunk all the same, and none is cut.
    """

    def __init__(self, flat: FlatParameters, schedule: RankSchedule, options: AllocatorOptions) -> None:
        self._flat, self._schedule, self._options = flat, schedule, options
        self._mask: Tensor | None = None  # what was cut, until it leaves the layout
        self.frozen = False
        start_gates(flat, torch.randn(flat.layout.triplets, generator=torch.Generator().manual_seed(options.seed)))

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def after_step(self, step: int, facts: StepFacts) -> bool:
        gates = self._flat.singular
        if not self.frozen:
            shrink(self._flat, facts, self._options.sparsity)
            # `>=`: a resumed training must not miss the freeze, as an exact comparison would.
            self.frozen = step >= self._schedule.freezes_at
            if self.frozen and self._schedule.prunes:
                self._mask = Cut(self._flat, self._options.unit).mask(gates.abs(), self._schedule.target_budget)
                gates.mul_(self._mask)
                return True
        elif self._mask is not None:
            gates.mul_(self._mask)  # AdamW's moments would move gates away from zero that are cut and still held
        return False

    def mask(self, step: int) -> Tensor | None:  # noqa: ARG002
        return self._mask

    def kept(self) -> Kept | None:
        if self._mask is None or not self._options.compact:
            return None
        return self._flat.layout.kept_by(self._mask.tolist())

    def follow_layout(self, old: Layout) -> None:  # noqa: ARG002
        self._mask = None  # what it cut has left the layout

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {} if self._mask is None else {"mask": self._mask}, {"frozen": self.frozen}

    def load(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        self.frozen = bool(plain["frozen"])
        self._mask = tensors["mask"].to(self._flat.device) if "mask" in tensors else None


@torch.no_grad()  # type: ignore[untyped-decorator]
def start_gates(flat: FlatParameters, gates: Tensor) -> None:
    """Let the gates be `gates` [triplets] and all B zero. The outputs stay those of the base, as E was zero before."""
    flat.singular.copy_(gates)
    for block, rows in zip(flat.layout.blocks, flat.rows, strict=True):
        rows[block.first_b :] = 0
    flat.fold()


@torch.no_grad()  # type: ignore[untyped-decorator]
def shrink(flat: FlatParameters, facts: StepFacts, weight: float) -> None:
    """The proximal step of the penalty `weight` times the L1 norm of the gates, after AdamW's step.

    A skipped step shrinks nothing, and neither does any step the gates of matrices that got no gradient.
    """
    gates, first = flat.singular, flat.layout.row_elements
    held = [(part, flat.data[part].clone()) for part in facts.hold if part.start >= first]
    threshold = facts.finite * (facts.rate * weight)
    gates.copy_(gates.sign() * (gates.abs() - threshold).clamp_min_(0))
    for part, value in held:
        flat.data[part] = value
