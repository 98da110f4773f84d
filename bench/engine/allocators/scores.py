"""What a rank is worth to an allocator that prunes: the score that `adalora.AdaLora` cuts to its budget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from bench.engine.allocators.base import StepFacts
from bench.engine.flat import FlatParameters
from bench.engine.importance import Importance
from bench.engine.options import ImportanceKind


class Score:
    """Scores every rank of the flat parameters, whose layout stays the same as long as the score lives."""

    def update(self, facts: StepFacts, *, final: bool) -> None:
        """Take in the optimizer step that was just made; `final`: it is the one after which the ranks freeze."""

    def of_triplets(self) -> Tensor:
        """The score of every rank [triplets] as of the last update: the higher, the more it is worth."""
        raise NotImplementedError

    def state(self) -> dict[str, Tensor]:
        """Tensors from which `load` restores the score bit for bit."""
        return {}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `state` returned; `tensors` may hold others too."""

    def bytes(self) -> int:
        """Bytes that it keeps from step to step."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.state().values())


class Sensitivity(Score):
    """AdaLoRA's importance (Zhang et al. 2023, equations 7 to 11), of gradients after clipping or before (`raw`)."""

    def __init__(
        self,
        flat: FlatParameters,
        kind: ImportanceKind = "sensitivity-uncertainty",
        betas: tuple[float, float] = (0.85, 0.85),
        gradient: Literal["clipped", "raw"] = "clipped",
    ) -> None:
        self._importance, self._raw = Importance(flat, kind, betas), gradient == "raw"

    def update(self, facts: StepFacts, *, final: bool) -> None:
        if not final:  # as published: the last mask is taken from the averages before its step
            self._importance.update(facts.finite, facts.clip if self._raw else None, facts.hold)

    def of_triplets(self) -> Tensor:
        return self._importance.of_triplets()

    def state(self) -> dict[str, Tensor]:
        return dict(self._importance.tensors)

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        self._importance.load(tensors)
