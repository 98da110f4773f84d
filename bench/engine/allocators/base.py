"""Who decides the ranks: the one interface of all allocators. `names` lists them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from bench.engine.flat import FlatParameters
from bench.engine.layout import Kept, Layout
from bench.engine.options import AllocatorOptions
from bench.engine.schedule import RankSchedule


@dataclass(frozen=True)
class StepFacts:
    """What an allocator may know of the optimizer step that was just made, all without host synchronization.

    finite []: 1, or 0 if the step was skipped. clip []: what the gradient was multiplied with; None without clipping.
    loss []: the task's loss alone. hold: elements of adapters that got no gradient. rate: the step's learning rate.
    moments: Adam's averages of the gradient and of its square, each [elements] in the order of the flat parameters and
    without bias correction, to be read only. An optimizer that keeps 8 bits unpacks one whenever it is taken from the
    sequence. regularizer []: the weighted orthogonality penalty that the step's gradient has in it; 0 without one.
    """

    finite: Tensor
    clip: Tensor | None
    loss: Tensor
    hold: Sequence[slice] = field(default=())
    rate: float = 0.0
    moments: Sequence[Tensor] | None = None
    regularizer: Tensor | None = None


class Allocator:
    """Decides which ranks live. Every decision follows from its state and the step, so equal runs decide alike.

    This class itself never changes a rank, keeps nothing and costs nothing. Other allocators override what they need.
    """

    frozen: bool = False  # True once ranks never change again

    def after_step(self, step: int, facts: StepFacts) -> bool:  # noqa: ARG002
        """Called once after optimizer step `step`, while its gradient is still there. Returns whether ranks changed."""
        return False

    def watches(self, step: int) -> bool:  # noqa: ARG002
        """Whether it wants the loss on held-out rows after `step`; then `after_validation` is called with it."""
        return False

    def after_validation(self, step: int, loss: float) -> bool:  # noqa: ARG002
        """Called after `after_step` with the loss on held-out rows. Returns whether ranks changed."""
        return False

    def mask(self, step: int) -> Tensor | None:  # noqa: ARG002
        """Which ranks [triplets] the budget of `step` lets live; None for all. Changes nothing."""
        return None

    def kept(self) -> Kept | None:
        """The initial ranks of each site that the flat parameters shall hold from now on; None: as they are."""
        return None

    def follow_layout(self, old: Layout) -> None:
        """Called after the flat parameters took on the layout that `kept` asked for. New ranks are zeros."""

    def renewed(self) -> Kept | None:
        """Ranks in `kept` that got values of another meaning in this change, such as a new basis.

        Asked after `follow_layout`. The optimizer forgets its moments of them, as of ranks that have just entered.
        """
        return None

    def growths(self) -> list[dict[str, Any]]:
        """When ranks grew and why: step, ranks (of all matrices together, afterwards), reason."""
        return []

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and plain JSON from which `load` restores the allocator bit for bit."""
        return {}, {}

    def load(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Restore what `state` returned, whatever was done since. The flat parameters have their layout already."""

    def bytes(self) -> int:
        """Bytes of the importance buffers as they are now."""
        return 0


class Fixed(Allocator):
    """Ranks that never change: LoRA, and SVD layers without pruning."""


def fixed(_flat: FlatParameters, _schedule: RankSchedule, _options: AllocatorOptions) -> Allocator:
    """Ranks that never change."""
    return Fixed()
