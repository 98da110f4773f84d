"""The ranks that a cell's matrices hold from the first step, where its method's allocator is `given`."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from bench.config.cell import Cell
from bench.config.rank_schedule import largest_rank, rank_cost
from bench.engine.schedule import RankSchedule
from bench.errors import BenchError
from bench.models.precision import unpacked
from bench.models.shares import afforded, in_turn
from bench.models.sites import AdapterSite


def pattern_of(
    cell: Cell,
    sites: Sequence[AdapterSite],
    model: Any,
    schedule: RankSchedule,
    found: Mapping[str, int] | None = None,
) -> tuple[int, ...] | None:
    """The rank of each of `sites`, within the budget of `schedule`; None if the cell's ranks are not given.

    `model` holds the pretrained weights (`draw: stable-rank` reads them), `found` are the ranks by site that the
    training rows have decided (`draw: eva` and `gora`). Raises BenchError if the cell whose ranks are taken over has
    other matrices, or if what decides the ranks is missing; RuntimeError if that cell ended without ranks.
    """
    pattern = cell.method.pattern
    if pattern is None:
        return None
    if pattern.source is not None:
        return _taken_over(cell, sites, shuffle=pattern.shuffle)
    shapes = [(site.in_features, site.out_features) for site in sites]
    most = largest_rank(cell, shapes)
    costs = [rank_cost(cell, shape) if cell.method.unit == "parameters" else 1 for shape in shapes]
    if pattern.draw in ("eva", "gora"):
        if found is None:
            raise BenchError(f"{cell.id}: {pattern.draw.upper()} needs the training rows: train the cell by its study")
        return tuple(found[site.name] for site in sites)
    if pattern.draw == "random":
        slots = [index for index in range(len(sites)) for _ in range(most)]
        random.Random(f"pattern {cell.seed}").shuffle(slots)
        return afforded(slots, costs, schedule.target_budget)
    return afforded(in_turn(stable_ranks(model, sites), most), costs, schedule.target_budget)


@torch.no_grad()  # type: ignore[untyped-decorator]
def stable_ranks(model: Any, sites: Sequence[AdapterSite]) -> list[float]:
    """The stable rank ||W||_F^2 / ||W||_2^2 of the pretrained weight of each site, as SR-LoRA (ICCV 2025) takes it.

    A weight in 4 bits is unpacked before. A matrix of zeros has stable rank 0.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    found = []
    for site in sites:
        layer = base.get_submodule(site.name)
        weight = unpacked(getattr(layer, "base_layer", layer)).double()
        largest = torch.linalg.matrix_norm(weight, ord=2).item()
        found.append((torch.linalg.matrix_norm(weight).item() / largest) ** 2 if largest else 0.0)
    return found


def _taken_over(cell: Cell, sites: Sequence[AdapterSite], *, shuffle: bool) -> tuple[int, ...]:
    given = cell.given
    if given is None:
        raise BenchError(f"{cell.id}: the ranks that it takes over are not known: train it by its study")
    if not given.ranks:
        raise RuntimeError(f"the ranks are those of {given.cell}, which ended without any: see its record")
    names = [site.name for site in sites]
    if set(names) != set(given.ranks):
        raise BenchError(f"{cell.id}: {given.cell} adapts other matrices: {sorted(set(names) ^ set(given.ranks))[0]}")
    ranks = [given.ranks[name] for name in names]
    if shuffle:
        draw = random.Random(f"shuffle {cell.seed}")
        for shape in sorted({(site.in_features, site.out_features) for site in sites}):
            places = [index for index, site in enumerate(sites) if (site.in_features, site.out_features) == shape]
            moved = [ranks[place] for place in places]
            draw.shuffle(moved)
            for place, rank in zip(places, moved, strict=True):
                ranks[place] = rank
    return tuple(ranks)
