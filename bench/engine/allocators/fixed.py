"""Ranks that never change: LoRA, and SVD layers without pruning."""

from __future__ import annotations

from bench.engine.allocators.base import Allocator


class Fixed(Allocator):
    """Every rank lives, as the base class has it."""
