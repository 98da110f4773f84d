"""Which ranks live under a budget, from a score for each: what all allocators that prune have in common."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.engine.flat import FlatParameters
from bench.engine.options import BudgetUnit


class Cut:
    """Cuts the ranks of `flat`, as they are now, to a budget in `unit`."""

    def __init__(self, flat: FlatParameters, unit: BudgetUnit) -> None:
        layout = flat.layout
        # Among equal scores the first ranks of every matrix win, not all ranks of the first matrices.
        pairs = layout.ranks_of_triplets
        order = sorted(range(layout.triplets), key=lambda t: (pairs[t][1], pairs[t][0]))
        self._tie_order = torch.tensor(order, device=flat.device, dtype=torch.long)
        costs = layout.costs(unit)
        self._costs = torch.tensor([costs[site] for site, _ in pairs], device=flat.device, dtype=torch.long)
        self._unit = unit

    def mask(self, scores: Tensor, budget: int) -> Tensor:
        """A mask [triplets] of the ranks with the highest `scores` [triplets] that `budget` pays for.

        Where parameters are counted, the most score per parameter comes first.
        """
        if self._unit == "parameters":
            return affordable_ranks(scores, self._costs, budget, self._tie_order)
        return top_ranks(scores, budget, self._tie_order)


def top_ranks(scores: Tensor, count: int, tie_order: Tensor) -> Tensor:
    """A mask [triplets] of exactly the `count` largest `scores` [triplets], without host synchronization.

    Among equal scores the first in `tie_order` [triplets] (a permutation) wins.
    """
    best = torch.sort(scores[tie_order], descending=True, stable=True).indices[:count]
    mask = torch.zeros_like(scores, dtype=torch.bool)
    mask[tie_order[best]] = True
    return mask


def affordable_ranks(scores: Tensor, costs: Tensor, limit: int, tie_order: Tensor) -> Tensor:
    """A mask [triplets] of the ranks with the most importance per parameter, at most `limit` parameters in all.

    costs [triplets]: parameters of each rank. Greedy by scores / costs; a rank that no longer fits is passed over for a
    cheaper one. It takes one host synchronization.
    """
    order = tie_order[torch.sort((scores / costs)[tie_order], descending=True, stable=True).indices]
    kept, remaining = [False] * len(scores), limit
    for triplet, cost in torch.stack([order, costs[order]]).t().tolist():
        if cost <= remaining:
            kept[triplet] = True
            remaining -= cost
    return torch.tensor(kept, device=scores.device)
