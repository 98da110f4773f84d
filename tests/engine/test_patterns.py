"""Given ranks: drawn within the budget, moved over matrices of equal shape, held from the first step to the last."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from helpers.toy_models import batches, cell_of, core_of, loss_of, sites_of, width_of

from bench.config.cell import Cell, GivenRanks
from bench.config.rank_rules import Pattern
from bench.config.rank_schedule import largest_rank, schedule_of
from bench.engine.options import AllocatorOptions
from bench.engine.schedule import RankSchedule
from bench.engine.step import Core
from bench.errors import BenchError
from bench.models.patterns import stable_ranks

SHAPES = [(8, 16), (16, 8), (8, 16), (12, 8), (8, 16), (16, 8)]
NAMES = [site.name for site in sites_of(SHAPES)]
LEARNED = dict(zip(NAMES, (4, 0, 2, 3, 1, 1), strict=True))


def given(pattern: Pattern, *, unit: str = "ranks", seed: int = 0, ranks: dict[str, int] | None = None) -> Cell:
    method = {"pattern": pattern, "unit": unit}
    cell = cell_of(allocator="given", rank=2, initial_rank=4, method=method, max_steps=10)
    known = None if ranks is None else GivenRanks(cell="donor", hash="h", ranks=ranks)
    return cell.model_copy(update={"seed": seed, "given": known})


def core(cell: Cell) -> Core:
    return core_of(SHAPES, largest_rank(cell, SHAPES), schedule_of(cell, 2000, SHAPES), cell)


def ranks_of(cell: Cell) -> tuple[int, ...]:
    return tuple(core(cell).live_ranks().values())


def test_ranks_that_are_taken_over_are_held_by_every_step() -> None:
    cell = given(Pattern(source="adalora"), ranks=LEARNED)
    made: Any = core(cell)
    assert made.live_ranks() == LEARNED
    held = made.trainable_parameters()
    data = batches(0, 8, width_of(SHAPES))
    for _ in range(10):
        made.accumulate(loss_of(made.model, next(data)))
        assert not made.step().masked
        assert made.live_ranks() == LEARNED
    assert made.trainable_parameters() == held
    assert (
        held["adapter"]
        == made.live_parameters()
        == sum(LEARNED[n] * (i + o + 1) for n, (i, o) in zip(NAMES, SHAPES, strict=True))
    )


def test_equal_ranks_train_as_the_same_layers_without_an_allocator() -> None:
    """The first ranks of layers for rank 4 have the values that layers for rank 4 start with."""
    cell = given(Pattern(source="adalora"), ranks=dict.fromkeys(NAMES, 2))
    made: Any = core(cell)
    fixed = cell_of(allocator="fixed", rank=4, max_steps=10)
    other: Any = core_of(SHAPES, 4, RankSchedule(initial_budget=24, target_budget=24, total_steps=10), fixed)
    for (name, own), (_, whole) in zip(made.model.named_parameters(), other.model.named_parameters(), strict=True):
        if "lora_A" in name:
            assert torch.equal(own, whole[:2])


@pytest.mark.parametrize("unit", ["ranks", "parameters"])
def test_a_random_pattern_fills_the_budget_and_follows_the_seed(unit: str) -> None:
    cells = [given(Pattern(draw="random"), unit=unit, seed=seed) for seed in range(20)]
    found = [ranks_of(cell) for cell in cells]
    costs = [1 if unit == "ranks" else i + o + 1 for i, o in SHAPES]
    cap = schedule_of(cells[0], 2000, SHAPES).target_budget
    assert cap == (12 if unit == "ranks" else 2 * sum(i + o for i, o in SHAPES))
    for ranks in found:
        used = sum(rank * cost for rank, cost in zip(ranks, costs, strict=True))
        room = min(cost for rank, cost in zip(ranks, costs, strict=True) if rank < 4)
        assert used <= cap < used + room  # no rank more would fit
        assert max(ranks) <= 4
    assert found == [ranks_of(cell) for cell in cells]
    assert len(set(found)) > 15
    mean = np.mean(found, axis=0)
    assert mean.min() > 1  # no matrix is preferred: each has 2 on average
    assert mean.max() < 3


def test_shuffled_ranks_stay_among_matrices_of_equal_shape() -> None:
    found = [ranks_of(given(Pattern(source="adalora", shuffle=True), seed=seed, ranks=LEARNED)) for seed in range(20)]
    assert len(set(found)) > 4
    for ranks in found:
        for shape in set(SHAPES):
            moved = Counter(rank for rank, own in zip(ranks, SHAPES, strict=True) if own == shape)
            assert moved == Counter(rank for rank, own in zip(LEARNED.values(), SHAPES, strict=True) if own == shape)


@pytest.mark.parametrize("unit", ["ranks", "parameters"])
def test_stable_ranks_share_the_budget_in_proportion(unit: str) -> None:
    cell = given(Pattern(draw="stable-rank"), unit=unit)
    made: Any = core(cell)
    weights = [made.model.get_base_model().get_submodule(name).base_layer.weight.detach().numpy() for name in NAMES]
    values = [np.linalg.svd(weight.astype(float), compute_uv=False) for weight in weights]
    expected = [float((value**2).sum() / value[0] ** 2) for value in values]
    assert stable_ranks(made.model, sites_of(SHAPES)) == pytest.approx(expected, rel=1e-9)
    ranks = list(made.live_ranks().values())
    # D'Hondt: no matrix would have the better claim to a rank that another one has.
    for taker, share in enumerate(expected):
        for holder, other in enumerate(expected):
            if unit == "ranks" and ranks[taker] < 4 and ranks[holder]:
                assert share / (ranks[taker] + 1) <= other / ranks[holder]
    assert sum(ranks) == 12 or unit == "parameters"


def test_a_matrix_of_zeros_gets_no_rank_before_others() -> None:
    made: Any = core(given(Pattern(draw="stable-rank")))
    with torch.no_grad():
        made.model.get_base_model().get_submodule(NAMES[0]).base_layer.weight.zero_()
    assert stable_ranks(made.model, sites_of(SHAPES))[0] == 0


@pytest.mark.parametrize(
    ("ranks", "error", "message"),
    [
        (None, BenchError, "not known: train it by its study"),
        ({}, RuntimeError, "those of donor, which ended without any"),
        (dict.fromkeys(NAMES[:-1], 2), BenchError, "donor adapts other matrices: layers.5"),
        (dict.fromkeys(NAMES, 3), BenchError, "18 ranks are given, the budget is 12"),
        ({**LEARNED, NAMES[0]: 5}, BenchError, "layers.0 has rank 5, expected 0 to 4"),
    ],
)
def test_ranks_that_do_not_fit_are_refused(ranks: dict[str, int] | None, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        core(given(Pattern(source="adalora"), ranks=ranks))


def test_the_library_names_what_is_missing() -> None:
    from bench.engine.allocators.registry import build_allocator

    made: Any = core(cell_of(allocator="fixed", rank=4, max_steps=10))
    with pytest.raises(BenchError, match="expected a rank for each of 6 matrices, found none"):
        build_allocator(made.flat, made.schedule, AllocatorOptions(name="given"))
