"""Ranks move as an independent implementation of ElaLoRA's rule says, and their number stays the budget's."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import torch
from helpers.toy_models import assert_same_bits, batches, cell_of, core_of, loss_of, width_of
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from bench.config.cell import Cell
from bench.config.method import Method
from bench.config.rank_rules import Moving
from bench.config.rank_schedule import faults_without_shapes, largest_rank, schedule_of, start_rank
from bench.engine.allocators.base import StepFacts
from bench.engine.allocators.registry import build_allocator
from bench.engine.options import AllocatorOptions
from bench.engine.schedule import RankSchedule
from bench.engine.step import Core
from bench.errors import BenchError

SHAPES = [(24, 16), (16, 24), (12, 12), (20, 12), (16, 16)]
STEPS = 40
PHASES = {"initial_steps": 8, "final_steps": 8, "interval": 1}  # five moves: after 12, 16, 20, 24 and 28 of 40 steps
BETAS = (0.85, 0.85)
Place = tuple[int, int]  # a matrix and one of its ranks


def new_cell(rank: float = 4, ranks: int = 4, per_matrix: int = 2, times: int = 5, **recipe: object) -> Cell:
    return cell_of(
        allocator="elalora",
        rank=rank,
        method={"moving": Moving(ranks=ranks, per_matrix=per_matrix, times=times)},
        **{"rank_schedule": PHASES, "max_steps": STEPS, **recipe},
    )


def new_core(**changes: object) -> Core:
    cell = new_cell(**changes)
    return core_of(SHAPES, largest_rank(cell, SHAPES), schedule_of(cell, 2000, SHAPES), cell)


def data() -> list[tuple[Tensor, Tensor]]:
    return [batch for batch, _ in zip(batches(0, 8, width_of(SHAPES)), range(STEPS), strict=False)]


def train(core: Core, until: int = STEPS) -> None:
    for batch in data()[core.completed : until]:
        core.accumulate(loss_of(core.model, batch))
        core.step()


class Watched:
    """Trains `core` and, before every decision, takes in what the paper's averages are made from."""

    def __init__(self, core: Core) -> None:
        self.core, self.mean, self.spread = core, {}, {}
        self._decide, core.allocator.after_step = core.allocator.after_step, self._watch
        self.scores: dict[Place, float] = {}

    def _watch(self, step: int, facts: StepFacts) -> bool:
        flat = self.core.flat
        values, grads = flat.factors(flat.data), flat.factors(flat.grad)
        self.scores = {}
        for site, held in enumerate(flat.layout.kept):
            (a, b, e), (da, db, de) = values[site], grads[site]
            for row, rank in enumerate(held):
                total = 0.0
                for kind, value in (("P", b[:, row] * db[:, row]), ("Q", a[row] * da[row]), ("L", e[row] * de[row])):
                    key, now = (site, rank, kind), value.abs()
                    mean = self.mean.get(key, torch.zeros_like(now))
                    self.mean[key] = BETAS[0] * mean + (1 - BETAS[0]) * now
                    spread = self.spread.get(key, torch.zeros_like(now))
                    self.spread[key] = BETAS[1] * spread + (1 - BETAS[1]) * (now - self.mean[key]).abs()
                    total += float((self.mean[key] * self.spread[key]).mean())
                self.scores[site, rank] = total
        changed = self._decide(step, facts)
        for store in (self.mean, self.spread):  # what leaves is forgotten
            for site, rank, kind in list(store):
                if rank not in self.core.allocator.kept()[site]:
                    del store[site, rank, kind]
        return changed


def moved(scores: dict[Place, float], b: int, k: int, ceiling: int) -> tuple[list[Place], list[int]]:
    """Which ranks are pruned and which matrices gain one each, when the budget is full: pair by pair."""
    selected: list[Place] = []
    for site in range(len(SHAPES)):
        selected += sorted((place for place in scores if place[0] == site), key=lambda place: scores[place])[:k]
    ascending = sorted(selected, key=lambda place: scores[place])
    count = {site: sum(place[0] == site for place in scores) for site in range(len(SHAPES))}
    pruned = []
    for place in ascending:
        if len(pruned) < b and count[place[0]] > 1:
            pruned.append(place)
            count[place[0]] -= 1
    gains: list[int] = []
    for place in reversed(ascending):
        site = place[0]
        fits = site not in {p[0] for p in pruned} and count[site] < ceiling
        if fits and len(gains) < len(pruned) and scores[place] > scores[pruned[len(gains)]]:
            gains.append(site)
            count[site] += 1
    return pruned[: len(gains)], gains


@pytest.mark.parametrize(("b", "k"), [(4, 2), (2, 1), (6, 3)])
def test_every_move_is_that_of_an_independent_implementation(b: int, k: int) -> None:
    core = new_core(ranks=b, per_matrix=k)
    watched, ceiling = Watched(core), core.initial_ranks[0]
    assert ceiling == 6
    steps, sizes = [], []
    for batch in data():
        before = core.flat.layout.kept
        core.accumulate(loss_of(core.model, batch))
        changed = core.step().masked
        step, after = core.completed, core.flat.layout.kept
        want = round(b * (1 - ((step - 8) / (32 - 8)) ** 3)) if step in (12, 16, 20, 24, 28) else 0
        pruned, gains = moved(watched.scores, want, k, ceiling)
        assert changed == bool(gains)
        left = [(site, rank) for site in range(len(SHAPES)) for rank in before[site] if rank not in after[site]]
        assert left == sorted(pruned)
        assert [s for s in range(len(SHAPES)) for rank in after[s] if rank not in before[s]] == sorted(gains)
        assert sum(map(len, after)) == 4 * len(SHAPES)
        if changed:
            steps.append(step)
            sizes.append(len(gains))
    assert steps[0] == 12
    assert len(steps) >= 3
    assert sizes[0] > sizes[-1] or b == 6  # fewer and fewer, as long as there are matrices that can gain
    assert [event["step"] for event in core.allocator.growths()] == steps
    assert core.allocator.frozen
    assert core.allocator.bytes() == 0
    assert max(core.flat.layout.ranks) > 4 > min(core.flat.layout.ranks)


def at_moves(core: Core) -> Iterator[tuple[list[list[int]], Tensor, Tensor]]:
    """After every move: the new ranks of each matrix, and outputs before (without what was pruned) and after."""
    probe = torch.randn(4, 2, width_of(SHAPES), generator=torch.Generator().manual_seed(1))
    follow = core._follow
    seen: list[tuple[list[list[int]], Tensor, Tensor]] = []

    def watch() -> None:
        old, kept = core.flat.layout, core.allocator.kept()
        stay = [rank in kept[site] for site, rank in ((s, old.kept[s][p]) for s, p in old.ranks_of_triplets)]
        core.flat.fold(torch.tensor(stay))
        before = core.model(probe).detach()
        follow()
        new = [list(ranks) for ranks in core.flat.layout.new_since(old)]
        seen.append((new, before, core.model(probe).detach()))

    core._follow = watch
    for batch in data():
        core.accumulate(loss_of(core.model, batch))
        core.step()
        yield from seen
        seen.clear()


def test_new_ranks_change_no_output_and_are_orthogonal_to_those_of_their_matrix() -> None:
    core = new_core()
    for new, before, after in at_moves(core):
        torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-6)
        places = core.optimizer.newcomers[-1].places
        assert not core.optimizer.moment[places].any()
        assert not core.optimizer.square[places].any()
        assert core.optimizer.newcomers[-1].steps == 0
        for site, (a, b, e) in enumerate(core.flat.factors(core.flat.data)):
            rows = [core.flat.layout.kept[site].index(rank) for rank in new[site]]
            for row in rows:
                others = [other for other in range(len(a)) if other != row]
                assert float((a[others] @ a[row]).abs().max()) < 1e-5
                assert float((b[:, others].T @ b[:, row]).abs().max()) < 1e-5
                assert float(a[row].norm()) == pytest.approx(1)
                assert float(b[:, row].norm()) == pytest.approx(1)
                assert float(e[row]) == 0
    assert len(core.allocator.growths()) >= 3


def test_ranks_that_come_back_begin_anew() -> None:
    """A rank that leaves and comes back belongs to the last group of newcomers alone."""
    core = new_core(ranks=8, per_matrix=3)
    owners: list[Place] = []
    for batch in data():
        core.accumulate(loss_of(core.model, batch))
        core.step()
        owners = [
            (site, rank)
            for group in core.optimizer.newcomers
            for site, ranks in enumerate(group.ranks)
            for rank in ranks
        ]
        assert len(owners) == len(set(owners))
        assert all(rank in core.flat.layout.kept[site] for site, rank in owners)
    assert owners


@pytest.mark.parametrize("rank", [1, 1.4, 2.6, 3.8])
def test_a_fraction_of_a_rank_is_given_by_the_first_moves(rank: float) -> None:
    core = new_core(rank=rank)
    limit = int(rank * len(SHAPES) + 1e-9)
    assert set(core.live_ranks().values()) == {int(rank)}
    for until in range(1, STEPS + 1):
        train(core, until)
        assert sum(core.live_ranks().values()) <= limit
        assert min(core.flat.layout.ranks) >= 1
    assert sum(core.live_ranks().values()) == limit
    assert max(core.flat.layout.ranks) <= core.initial_ranks[0]


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(1, STEPS - 1), max_size=3))
def test_an_interrupted_training_goes_on_bit_for_bit(stops: list[int]) -> None:
    whole, core = new_core(), new_core()
    train(whole)
    for stop in [*sorted(stops), 12, 33]:  # always right after a move and after the freeze as well
        train(core, max(stop, core.completed))
        tensors, plain = core.state_dict()
        core = new_core()
        core.flat.data.mul_(2)
        core.load_state_dict(tensors, json.loads(json.dumps(plain)))
    train(core)
    assert_same_bits(core, whole)


def test_a_skipped_step_changes_no_average() -> None:
    core = new_core()
    train(core, 7)
    before = {name: tensor.clone() for name, tensor in core.allocator.state()[0].items()}
    core.accumulate(loss_of(core.model, data()[7]) * float("nan"))
    assert core.step().skipped == 1
    after = core.allocator.state()[0]
    assert set(before) == {"average", "deviation"}
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_micro_batches_move_as_one_batch_does() -> None:
    whole, parts = new_core(), new_core()
    for x, y in data()[:13]:  # the first move is made; later on rounding grows
        whole.accumulate(loss_of(whole.model, (x, y)))
        for part in (slice(0, 4), slice(4, 8)):
            parts.accumulate(loss_of(parts.model, (x[part], y[part])), share=0.5)
        whole.step()
        parts.step()
        assert whole.flat.layout.kept == parts.flat.layout.kept
    assert whole.allocator.growths()


def test_where_no_importance_differs_nothing_moves() -> None:
    core = new_core()
    for x, y in data():
        core.accumulate(loss_of(core.model, (x, y), skip=range(len(SHAPES))))  # only the head has a gradient
        assert not core.step().masked
    assert set(core.flat.layout.ranks) == {4}


def test_the_schedule_is_the_cap_from_the_first_step_on() -> None:
    cell = new_cell(rank=2.5)
    assert schedule_of(cell, 2000, SHAPES) == RankSchedule(
        initial_budget=12, target_budget=12, initial_steps=8, final_steps=8, interval=1, total_steps=STEPS
    )
    assert start_rank(cell, SHAPES) == 2
    assert largest_rank(cell, SHAPES) == 4  # 1.5 times 2.5, rounded
    assert (
        largest_rank(cell.model_copy(update={"budget": cell.budget.model_copy(update={"initial_rank": 7})}), SHAPES)
        == 7
    )


def test_what_cannot_move_is_refused() -> None:
    cell = new_cell(rank=0.5)
    assert [text for _, text in faults_without_shapes(cell, None)] == [
        "method 'm' starts with a rank in every matrix, the budget allows 0.5"
    ]
    phases = {"initial_steps": 20, "final_steps": 20, "interval": 1}
    with pytest.raises(BenchError, match="no step is left to prune in"):
        schedule_of(new_cell(rank_schedule=phases), 2000, SHAPES)
    in_parameters = cell_of(allocator="elalora", rank=None, parameters=500, method={"moving": Moving()})
    with pytest.raises(BenchError, match=r"counts ranks and can't promise a cap of 500 parameters: give .* as a rank$"):
        schedule_of(in_parameters, 2000, SHAPES)
    method = {"name": "m", "label": "m", "adapter": "adalora", "allocator": "elalora"}
    with pytest.raises(ValidationError, match="`moving` and an allocator that moves ranks go together"):
        Method(**method)
    with pytest.raises(ValidationError, match="counts ranks: unit must be ranks"):
        Method(**method, moving=Moving(), unit="parameters")
    with pytest.raises(ValidationError, match="adapter must be adalora, not lora"):
        Method(**{**method, "adapter": "lora"}, moving=Moving())
    core = new_core()
    with pytest.raises(BenchError, match="the unit must be ranks, not parameters"):
        build_allocator(core.flat, core.schedule, AllocatorOptions(name="elalora", unit="parameters"))
    few = RankSchedule(initial_budget=4, target_budget=4, total_steps=9)
    with pytest.raises(BenchError, match="5 matrices start with a rank each, the budget is 4 ranks"):
        build_allocator(core.flat, few, AllocatorOptions(name="elalora"))
