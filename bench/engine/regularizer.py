"""AdaLoRA's regularizer keeps the rows of A and the columns of B orthonormal: value and gradient in closed form.

R(P) = ||P P^T - I||_F for P = A and P = B^T (Zhang et al. 2023, equation 4, as PEFT computes it: the norm, not its
square, averaged over all 2n matrices). Its gradient is 2 (P P^T - I) P / R(P), so autograd is not needed: all matrices
of one row length take part in two batched matmuls, once per optimizer step.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.engine.flat import FlatParameters
from bench.engine.layout import Block


@dataclass(frozen=True)
class _Batch:
    """The matrices of one block as [matrices, rank, length]. If their ranks differ, they are padded by index."""

    block: int
    shape: tuple[int, int, int]
    minus_identity: Tensor  # [rank, rank], or [matrices, rank, rank] where ragged
    padding: Tensor | None = None  # [matrices * rank]: the row of the block, any row where padded
    real: Tensor | None = None  # [rows]: places of the block's rows among the padded ones
    valid: Tensor | None = None  # [matrices, rank, rank]: 1 where both rows are real


class Regularizer:
    """`weight` (gamma) times the mean norm over all matrices of `flat`."""

    def __init__(self, flat: FlatParameters, weight: float) -> None:
        self._flat, self.weight = flat, weight
        self._matrices = 2 * len(flat.layout.sites)
        self.rebuild()

    def rebuild(self) -> None:
        """Follow a change of the layout."""
        self._batches = [
            _batch(index, block, self._flat.device) for index, block in enumerate(self._flat.layout.blocks)
        ]

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def add_gradient(self) -> Tensor:
        """Add the gradient to the flat gradient buffer. Returns the weighted value [], on the device."""
        share = self.weight / self._matrices
        values = []
        for batch in self._batches:
            rows, grad_rows = self._flat.rows[batch.block], self._flat.grad_rows[batch.block]
            if batch.padding is None:
                matrices = rows.view(batch.shape)
                off = torch.baddbmm(batch.minus_identity, matrices, matrices.transpose(1, 2))
            else:
                matrices = rows.index_select(0, batch.padding).view(batch.shape)
                off = torch.bmm(matrices, matrices.transpose(1, 2)).mul_(batch.valid).add_(batch.minus_identity)
            norms = torch.linalg.vector_norm(off, dim=(1, 2))
            values.append(norms.sum())
            # Orthonormal rows have norm 0 and gradient 0; the clamp keeps 0 / 0 out.
            off.mul_((2 * share / norms.clamp_min(1e-30)).view(-1, 1, 1))
            if batch.real is None:
                grad_rows.view(batch.shape).baddbmm_(off, matrices)
            else:
                grad_rows.add_(torch.bmm(off, matrices).view(-1, batch.shape[2]).index_select(0, batch.real))
        return torch.stack(values).sum().mul_(share) if values else torch.zeros((), device=self._flat.device)


def _batch(index: int, block: Block, device: torch.device) -> _Batch:
    ranks = [factor.rows for factor in block.factors]
    largest = max(ranks)
    shape = (len(ranks), largest, block.length)
    if min(ranks) == largest:
        return _Batch(index, shape, -torch.eye(largest, device=device))
    exists = torch.arange(largest)[None, :] < torch.tensor(ranks)[:, None]
    starts = torch.tensor([factor.start for factor in block.factors])
    padding = torch.where(exists, starts[:, None] + torch.arange(largest)[None, :], 0)
    valid = (exists[:, :, None] & exists[:, None, :]).float()
    return _Batch(
        index,
        shape,
        minus_identity=(-torch.eye(largest) * valid).to(device),
        padding=padding.flatten().to(device),
        real=exists.flatten().nonzero().flatten().to(device),
        valid=valid.to(device),
    )
