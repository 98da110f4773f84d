"""Ranks grow where the rule says, change no output when they do, and never pass the budget."""

from __future__ import annotations

import pytest
import torch
from helpers.toy_models import assert_same_bits, batches, cell_of, core_of, loss_of, width_of
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.config.rank_rules import Growth
from bench.config.rank_schedule import schedule_of, start_rank
from bench.engine.allocators.triggers import Plateau, at_random, evenly
from bench.engine.schedule import RankSchedule
from bench.engine.step import Core
from bench.errors import BenchError

SHAPES = [(8, 16), (16, 8), (8, 8), (12, 8)]
STEPS = 20
GROWTH = {"start_rank": 2, "ranks": 2, "checks": 10, "until": 1.0, "patience": 2, "margin": 0.0, "warmup": 2}
FALLING, STILL = [1.0 / k for k in range(1, 11)], [0.5] * 10


def grown(allocator: str, rank: float = 6, **changes: float) -> Core:
    adapter = "adalora" if allocator == "increlora" else "lora"
    method = {"growth": Growth(**{**GROWTH, **changes})}
    cell = cell_of(adapter=adapter, allocator=allocator, rank=rank, method=method, holdout_rows=1, max_steps=STEPS)
    schedule = schedule_of(cell, 2000, SHAPES)
    largest = int(rank * 2) if allocator == "increlora" else int(rank)
    core = core_of(SHAPES, largest, schedule, cell)
    assert start_rank(cell, SHAPES) == cell.method.growth.start_rank
    return core


def train(core: Core, losses: list[float], until: int = STEPS) -> list[tuple[int, int]]:
    """Train with a made-up held-out loss at each check: the step and the ranks in all, wherever they changed."""
    data = [batch for batch, _ in zip(batches(0, 8, width_of(SHAPES)), range(STEPS), strict=False)]
    found = []
    for step in range(core.completed, until):
        core.accumulate(loss_of(core.model, data[step]))
        changed = core.step().masked
        if core.watches:
            changed = core.validated(losses[(step + 1) // 2 - 1]) or changed
        if changed:
            found.append((core.completed, sum(core.live_ranks().values())))
    return found


@pytest.mark.parametrize(
    ("losses", "patience", "margin", "want"),
    [
        ([5, 4, 3, 2, 1], 2, 0.0, []),
        ([5, 5, 5, 5, 5, 5], 2, 0.0, [2, 4]),
        ([5, 6, 4, 4, 4, 3, 3, 3], 2, 0.0, [4, 7]),
        ([5, 4.96, 4.92, 4.0, 3.99, 3.98], 2, 0.01, [5]),  # 4.96 is less than 1% better than 5, 4.92 is more
        ([5, 4.96, 4.955, 4.94], 2, 0.01, [2]),
        ([float("nan"), float("nan"), 1.0, float("inf"), float("inf")], 2, 0.0, [1, 4]),
        ([1, 2, 2, 2], 1, 0.0, [1, 2, 3]),
    ],
)
def test_a_plateau_is_so_many_checks_without_a_better_loss(
    losses: list[float], patience: int, margin: float, want: list[int]
) -> None:
    trigger = Plateau(patience, margin)
    assert [index for index, loss in enumerate(losses) if trigger.fires(index, loss)] == want


@given(st.lists(st.floats(0.1, 10), max_size=40), st.integers(0, 40), st.integers(1, 4))
def test_a_plateau_goes_on_where_its_state_was_taken(losses: list[float], cut: int, patience: int) -> None:
    whole, first, second = (Plateau(patience, 0.05) for _ in range(3))
    want = [whole.fires(0, loss) for loss in losses]
    got = [first.fires(0, loss) for loss in losses[:cut]]
    second.load(first.state())
    assert got + [second.fires(0, loss) for loss in losses[cut:]] == want


@given(st.sets(st.integers(1, 500), min_size=1, max_size=30), st.integers(1, 12), st.integers(0, 2**31))
def test_steps_fixed_before_are_checks_as_many_as_growths(steps: set[int], growths: int, seed: int) -> None:
    checks = sorted(steps)
    for chosen in (evenly(checks, growths), at_random(checks, growths, seed)):
        assert len(set(chosen)) == len(chosen) == min(growths, len(checks))
        assert set(chosen) <= steps
        assert chosen == sorted(chosen)
    assert evenly(checks, growths)[-1] == checks[-1]
    assert at_random(checks, growths, seed) == at_random(checks, growths, seed)


def test_ranks_grow_exactly_where_the_held_out_loss_stands_still() -> None:
    assert train(grown("plateau"), FALLING) == []
    core = grown("plateau")
    assert train(core, STILL) == [(6, 16), (10, 24)]  # checks after steps 2, 4, ...; the first sets the best loss
    assert core.allocator.frozen
    assert not core.watches
    assert [event["step"] for event in core.allocator.growths()] == [6, 10]
    assert all("no better for 2 checks" in event["reason"] for event in core.allocator.growths())


def test_even_growth_ends_at_the_last_check_and_random_growth_follows_the_seed() -> None:
    assert train(grown("interval"), []) == [(10, 16), (20, 24)]
    steps = train(grown("random"), [])
    assert [ranks for _, ranks in steps] == [16, 24]
    assert steps == train(grown("random"), [])


@pytest.mark.parametrize("allocator", ["plateau", "interval", "random", "increlora"])
@pytest.mark.parametrize("rank", [2, 3, 4.75, 6])
def test_the_budget_is_never_passed(allocator: str, rank: float) -> None:
    core = grown(allocator, rank=rank)
    limit = int(rank * len(SHAPES))
    assert sum(core.live_ranks().values()) == 8
    for until in range(1, STEPS + 1):
        train(core, STILL, until)
        assert sum(core.live_ranks().values()) <= limit
        assert core.flat.layout.ranks == tuple(core.live_ranks().values())
    whole = limit if allocator == "increlora" else int(rank) * len(SHAPES)
    assert sum(core.live_ranks().values()) == whole


@pytest.mark.parametrize("allocator", ["plateau", "increlora"])
def test_a_growth_changes_no_output_and_no_scale(allocator: str) -> None:
    core = grown(allocator)
    probe = torch.randn(4, 2, width_of(SHAPES), generator=torch.Generator().manual_seed(1))
    train(core, STILL, 5)
    before, ranks = core.model(probe).detach(), sum(core.live_ranks().values())
    scales = [site.scale for site in core.flat.sites]
    while sum(core.live_ranks().values()) == ranks:
        train(core, STILL, core.completed)  # nothing: only the growth itself is looked at below
        data = next(batches(0, 8, width_of(SHAPES)))
        core.accumulate(loss_of(core.model, data))
        rate, core.learning_rate = core.learning_rate, lambda _step: 0.0  # the step itself moves nothing
        core.step()
        core.learning_rate = rate
        if core.watches:
            core.validated(STILL[0])
    torch.testing.assert_close(core.model(probe).detach(), before, rtol=1e-5, atol=1e-7)  # float32's rounding
    assert [site.scale for site in core.flat.sites] == scales


def test_new_ranks_start_their_own_adamw() -> None:
    """The first step of a new element is the (warmed-up) learning rate, as Adam's is at its first step."""
    core = grown("plateau", warmup=2)
    train(core, STILL, 6)  # has just grown
    old = core.flat.data.clone()
    new = core.optimizer.newcomers[-1].places
    assert (core.optimizer.moment[new] == 0).all()
    assert (core.optimizer.square[new] == 0).all()
    rate = core.learning_rate(core.completed)
    train(core, STILL, 7)
    moved = (core.flat.data - old)[new].abs()
    moved = moved[moved > 0]  # A of a new rank has no gradient yet: B is zero
    torch.testing.assert_close(moved, torch.full_like(moved, rate / 2), rtol=1e-2, atol=0)  # Adam's epsilon


def test_increlora_gives_ranks_to_the_matrix_that_matters() -> None:
    core = grown("increlora", rank=4, start_rank=1)
    data = list(zip(batches(0, 8, width_of(SHAPES)), range(STEPS), strict=False))
    for batch, _ in data:
        core.accumulate(loss_of(core.model, batch, skip=(0, 1, 3)))  # only matrix 2 has any gradient
        core.step()
    ranks = core.live_ranks()
    assert ranks["layers.2"] == 8  # its ceiling: twice the average
    assert sum(ranks.values()) == 16


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(["plateau", "random", "increlora"]), st.lists(st.integers(1, STEPS - 1), max_size=3))
def test_an_interrupted_growth_goes_on_bit_for_bit(allocator: str, stops: list[int]) -> None:
    whole, core = grown(allocator), grown(allocator)
    train(whole, STILL)
    for stop in sorted(stops):
        train(core, STILL, stop)
        state = core.state_dict()
        core = grown(allocator)
        core.flat.data.mul_(2)
        core.load_state_dict(*state)
    train(core, STILL)
    assert core.live_ranks() == whole.live_ranks()
    assert core.allocator.growths() == whole.allocator.growths()
    assert_same_bits(core, whole)


@pytest.mark.parametrize(
    ("allocator", "held_out", "rank", "message"),
    [
        ("plateau", 0, 4, "holdout_rows is 0"),
        ("plateau", 1, 1, "ranks start at 2"),
        ("interval", 3000, 4, "leave none"),
    ],
)
def test_what_cannot_grow_is_refused(allocator: str, held_out: int, rank: int, message: str) -> None:
    method = {"growth": Growth(**GROWTH)}
    cell = cell_of(adapter="lora", allocator=allocator, rank=rank, method=method, holdout_rows=held_out)
    with pytest.raises(BenchError, match=message):
        schedule_of(cell, 2000, SHAPES)


def test_the_schedule_of_growing_ranks_is_their_cap() -> None:
    core = grown("plateau", rank=6)
    assert core.schedule == RankSchedule(initial_budget=24, target_budget=24, total_steps=STEPS)
