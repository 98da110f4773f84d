"""The ranks that a cell's matrices hold from the first step, where its method's allocator is `given`."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bench.config.cell import Cell
from bench.config.rank_schedule import largest_rank, rank_cost
from bench.engine.schedule import RankSchedule
from bench.errors import BenchError
from bench.models.precision import unpacked
from bench.models.sites import AdapterSite


def pattern_of(
    cell: Cell,
    sites: Sequence[AdapterSite],
    model: Any,
    schedule: RankSchedule,
    vectors: Mapping[str, Tensor] | None = None,
) -> tuple[int, ...] | None:
    """The rank of each of `sites`, within the budget of `schedule`; None if the cell's ranks are not given.

    `model` holds the pretrained weights (`draw: stable-rank` reads them), `vectors` are those of `draw: eva`. Raises
    BenchError if the cell whose ranks are taken over has other matrices, or if what decides the ranks is missing;
    RuntimeError if that cell ended without ranks.
    """
    pattern = cell.method.pattern
    if pattern is None:
        return None
    if pattern.source is not None:
        return _taken_over(cell, sites, shuffle=pattern.shuffle)
    shapes = [(site.in_features, site.out_features) for site in sites]
    most = largest_rank(cell, shapes)
    costs = [rank_cost(cell, shape) if cell.method.unit == "parameters" else 1 for shape in shapes]
    if pattern.draw == "eva":
        if vectors is None:
            raise BenchError(f"{cell.id}: EVA needs the training rows: train the cell by its study")
        return tuple(len(vectors[site.name]) for site in sites)
    if pattern.draw == "random":
        slots = [index for index in range(len(sites)) for _ in range(most)]
        random.Random(f"pattern {cell.seed}").shuffle(slots)
        return _afforded(slots, costs, schedule.target_budget)
    return _afforded(_in_turn(stable_ranks(model, sites), most), costs, schedule.target_budget)


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


def _in_turn(shares: Sequence[float], most: int) -> Iterator[int]:
    """The matrices in the order in which they get their ranks, so that ranks stay in proportion to `shares`.

    The next rank goes to the largest share / (ranks + 1), as seats are given by D'Hondt's method; ties go to the first.
    """
    ranks = [0] * len(shares)
    for _ in range(most * len(shares)):
        index = max((i for i, rank in enumerate(ranks) if rank < most), key=lambda i: (shares[i] / (ranks[i] + 1), -i))
        ranks[index] += 1
        yield index


def _afforded(order: Iterator[int] | Sequence[int], costs: Sequence[int], budget: int) -> tuple[int, ...]:
    """How many ranks each matrix gets in this `order` of matrices; one that no longer fits is passed over."""
    ranks, left = [0] * len(costs), budget
    for index in order:
        if costs[index] <= left:
            ranks[index] += 1
            left -= costs[index]
    return tuple(ranks)
