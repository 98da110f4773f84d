"""Who decides the ranks: the one interface of the allocators, which `bench.allocation.registry` lists by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor


@dataclass(frozen=True)
class StepFacts:
    """What an allocator may know of the optimizer step that was just made, all without host synchronisation.

    finite []: 1, or 0 where the step was skipped. clip []: what the gradient was multiplied with, None without
    clipping. loss []: the task's alone. hold: elements of adapters that got no gradient.
    """

    finite: Tensor
    clip: Tensor | None
    loss: Tensor
    hold: Sequence[slice] = field(default=())


class Allocator(Protocol):
    """Decides which ranks live. Every decision follows from its state and the step, so equal runs decide alike."""

    frozen: bool  # ranks never change again

    def after_step(self, step: int, facts: StepFacts) -> bool:
        """Called once after optimizer step `step`, the gradient still there; whether ranks were chosen anew."""

    def mask(self, step: int) -> Tensor | None:
        """The ranks [triplets] that the budget of `step` lets live, None for all; changes nothing."""

    def follow_layout(self) -> None:
        """The pruned ranks of the frozen allocation have left the flat parameters."""

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and plain JSON from which `load` restores the allocator bit for bit."""

    def load(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Restore what `state` gave; the flat parameters have their layout already."""

    def bytes(self) -> int:
        """Bytes of the importance buffers as they are now."""
