"""The loop in which the tiny models are trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

WARMUP_STEPS = 50


def train_tiny_model(
    model: nn.Module, loss: Callable[[], Tensor], *, steps: int, learning_rate: float, falling_steps: int
) -> None:
    """Take `steps` steps of AdamW down `loss`, which draws a batch of its own at each call.

    The learning rate rises over the first 50 steps and falls to zero over the last `falling_steps`.
    """
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * min(1.0, (step + 1) / WARMUP_STEPS, (steps - step) / falling_steps)
        loss().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
