"""Who decides the ranks: the one interface of the allocators, which `registry` lists by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from bench.engine.layout import Kept, Layout


@dataclass(frozen=True)
class StepFacts:
    """What an allocator may know of the optimizer step that was just made, all without host synchronization.

    finite []: 1, or 0 where the step was skipped. clip []: what the gradient was multiplied with, None without
    clipping. loss []: the task's alone. hold: elements of adapters that got no gradient.
    """

    finite: Tensor
    clip: Tensor | None
    loss: Tensor
    hold: Sequence[slice] = field(default=())


class Allocator:
    """Decides which ranks live. Every decision follows from its state and the step, so equal runs decide alike.

    This one never changes a rank, keeps nothing and costs nothing; the others override what they need.
    """

    frozen: bool = False  # ranks never change again

    def after_step(self, step: int, facts: StepFacts) -> bool:  # noqa: ARG002
        """Called once after optimizer step `step`, the gradient still there; whether ranks were chosen anew."""
        return False

    def watches(self, step: int) -> bool:  # noqa: ARG002
        """Whether it wants the loss on held-out rows after `step`; `after_validation` is then called with it."""
        return False

    def after_validation(self, step: int, loss: float) -> bool:  # noqa: ARG002
        """Called after `after_step` with the loss on held-out rows; whether ranks were chosen anew."""
        return False

    def mask(self, step: int) -> Tensor | None:  # noqa: ARG002
        """The ranks [triplets] that the budget of `step` lets live, None for all; changes nothing."""
        return None

    def kept(self) -> Kept | None:
        """The initial ranks of each site that the flat parameters are to hold from now on; None: as they are."""
        return None

    def follow_layout(self, old: Layout) -> None:
        """The flat parameters hold what `kept` asked for, and held `old` before; new ranks are zeros."""

    def growths(self) -> list[dict[str, Any]]:
        """When ranks grew and why: step, ranks (of all matrices together, afterwards), reason."""
        return []

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and plain JSON from which `load` restores the allocator bit for bit."""
        return {}, {}

    def load(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Restore what `state` gave, whatever was done since; the flat parameters have their layout already."""

    def bytes(self) -> int:
        """Bytes of the importance buffers as they are now."""
        return 0
