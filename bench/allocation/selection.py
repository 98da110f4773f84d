"""Which ranks live within a budget: exactly as many as it allows, ties decided the same way everywhere."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def top_ranks(scores: Tensor, count: int, tie_order: Tensor) -> Tensor:
    """A mask [triplets] with exactly `count` of the largest `scores` [triplets]; no host synchronisation.

    Among equals the first in `tie_order` [triplets] (a permutation) wins.
    """
    best = torch.sort(scores[tie_order], descending=True, stable=True).indices[:count]
    mask = torch.zeros_like(scores, dtype=torch.bool)
    mask[tie_order[best]] = True
    return mask


def affordable_ranks(scores: Tensor, costs: Sequence[int], limit: int, tie_order: Tensor) -> Tensor:
    """A mask [triplets] of the ranks with the most importance per parameter, of at most `limit` parameters in all.

    Greedy by scores / costs; a rank that no longer fits is passed over for a cheaper one. One host synchronisation.
    """
    density = scores / torch.tensor(costs, device=scores.device, dtype=scores.dtype)
    order = tie_order[torch.sort(density[tie_order], descending=True, stable=True).indices]
    kept, left, cheapest = [], limit, min(costs, default=0)
    for triplet in order.tolist():
        if costs[triplet] <= left:
            kept.append(triplet)
            left -= costs[triplet]
        if left < cheapest:
            break
    mask = torch.zeros_like(scores, dtype=torch.bool)
    mask[torch.tensor(kept, device=scores.device, dtype=torch.long)] = True
    return mask
