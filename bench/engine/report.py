"""What one optimizer step did."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class StepReport:
    """What one optimizer step did. Tensors [] stay on the device: reading one synchronizes.

    loss: the task's alone, weighted over the micro-batches. regularizer: its value times gamma. grad_norm: before
    clipping. skipped: 1 if the gradient was not finite, so that nothing was changed. budget: of this step, in the
    allocator's unit. masked: whether ranks were chosen anew.
    """

    step: int
    loss: Tensor
    regularizer: Tensor
    grad_norm: Tensor
    skipped: Tensor
    learning_rate: float
    budget: int
    masked: bool
