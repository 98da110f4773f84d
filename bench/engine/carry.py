"""Move a flat buffer (parameters, moments or averages) from one layout to another."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bench.engine.layout import Layout


@torch.no_grad()  # type: ignore[untyped-decorator]
def carry(flat: Tensor, old: Layout, new: Layout) -> Tensor:
    """`flat` (parameters, or a moment or an average of them) moved from the layout `old` to `new`, value for value.

    Ranks that `old` does not hold become zeros.
    """
    rows, singular = flat[: old.row_elements], flat[old.row_elements : old.adapter_elements]
    parts = [carry_rows(rows, old, new), *([carry_triplets(singular, old, new)] if new.svd else [])]
    return torch.cat([*parts, flat[old.adapter_elements :]])


@torch.no_grad()  # type: ignore[untyped-decorator]
def carry_rows(rows: Tensor, old: Layout, new: Layout, width: Callable[[int], int] = int) -> Tensor:
    """What stands for each row of A and B^T, in the order of the blocks, moved from `old` to `new`.

    width: how many numbers stand for a row of that length; by default as many as it has. What `old` has no row for
    becomes zeros, and what follows the rows in `rows` is kept.
    """
    of_length, end = {}, 0
    for block in old.blocks:
        begin, end = end, end + block.rows * width(block.length)
        of_length[block.length] = rows[begin:end].view(block.rows, -1)
    parts = []
    for block in new.blocks:
        found = of_length.get(block.length, rows.new_zeros(0, width(block.length)))
        parts.append(_picked(found, new.sources(block, old)).flatten())
    return torch.cat([*parts, rows[end:]])


@torch.no_grad()  # type: ignore[untyped-decorator]
def carry_triplets(values: Tensor, old: Layout, new: Layout) -> Tensor:
    """values [triplets], one of each rank, moved from `old` to `new`. Ranks that `old` does not hold become zeros."""
    return _picked(values, new.triplet_sources(old))


def _picked(values: Tensor, places: Sequence[int]) -> Tensor:
    """values [n, ...] at `places`; zeros where a place is -1."""
    padded = torch.cat([values, values.new_zeros(1, *values.shape[1:])])
    return padded[torch.tensor(places, device=values.device, dtype=torch.long)]  # -1 picks the last row, the zeros
