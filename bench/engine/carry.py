"""Move a flat buffer (parameters, moments or averages) from one layout to another."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.engine.layout import Layout


@torch.no_grad()  # type: ignore[untyped-decorator]
def carry(flat: Tensor, old: Layout, new: Layout) -> Tensor:
    """`flat` (parameters, or a moment or an average of them) moved from the layout `old` to `new`, value for value.

    Ranks that `old` does not hold become zeros.
    """
    parts = []
    for block in new.blocks:
        other = next((b for b in old.blocks if b.length == block.length), None)
        rows = flat.new_zeros(0, block.length)
        if other is not None:
            rows = flat[other.offset : other.end].view(other.rows, other.length)
        parts.append(_picked(rows, new.sources(block, old)).flatten())
    if new.svd:
        parts.append(_picked(flat[old.row_elements : old.adapter_elements], new.triplet_sources(old)))
    parts.append(flat[old.adapter_elements :])
    return torch.cat(parts)


def _picked(values: Tensor, places: Sequence[int]) -> Tensor:
    """values [n, ...] at `places`; zeros where a place is -1."""
    padded = torch.cat([values, values.new_zeros(1, *values.shape[1:])])
    return padded[torch.tensor(places, device=values.device, dtype=torch.long)]  # -1 picks the last row, the zeros
