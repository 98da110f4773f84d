"""Which ranks live within a budget: exactly as many as it allows, ties decided the same way everywhere."""

from __future__ import annotations

import torch
from torch import Tensor


def top_ranks(scores: Tensor, count: int, tie_order: Tensor) -> Tensor:
    """A mask [triplets] with exactly `count` of the largest `scores` [triplets]; no host synchronization.

    Among equals the first in `tie_order` [triplets] (a permutation) wins.
    """
    best = torch.sort(scores[tie_order], descending=True, stable=True).indices[:count]
    mask = torch.zeros_like(scores, dtype=torch.bool)
    mask[tie_order[best]] = True
    return mask


def affordable_ranks(scores: Tensor, costs: Tensor, limit: int, tie_order: Tensor) -> Tensor:
    """A mask [triplets] of the ranks with the most importance per parameter, of at most `limit` parameters in all.

    costs [triplets]: parameters of each rank. Greedy by scores / costs; a rank that no longer fits is passed over for a
    cheaper one. One host synchronization.
    """
    order = tie_order[torch.sort((scores / costs)[tie_order], descending=True, stable=True).indices]
    kept, left = [False] * len(scores), limit
    for triplet, cost in torch.stack([order, costs[order]]).t().tolist():
        if cost <= left:
            kept[triplet] = True
            left -= cost
    return torch.tensor(kept, device=scores.device)
