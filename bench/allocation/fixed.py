"""Ranks that never change: LoRA, and SVD layers without pruning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from bench.allocation.base import StepFacts


class Fixed:
    """Every rank lives. Keeps nothing and costs nothing."""

    frozen = False

    def after_step(self, step: int, facts: StepFacts) -> bool:  # noqa: ARG002
        return False

    def mask(self, step: int) -> Tensor | None:  # noqa: ARG002
        return None

    def follow_layout(self) -> None:
        return None

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {}, {}

    def load(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:  # noqa: ARG002
        return None

    def bytes(self) -> int:
        return 0
