"""Salience prunes as an independent implementation of the published rule does, over windows that grow."""

from __future__ import annotations

import json
import math

import pytest
import torch
from helpers.toy_models import assert_same_bits, batches, cell_of, core_of, loss_of, peft_regularizer, width_of
from pydantic import ValidationError
from torch import Tensor

from bench.config.cell import Cell
from bench.config.method import Method
from bench.config.rank_rules import Salience
from bench.engine.allocators.base import StepFacts
from bench.engine.allocators.registry import build_allocator
from bench.engine.allocators.salience import SalientScore
from bench.engine.options import AllocatorOptions, SalienceOptions
from bench.engine.schedule import RankSchedule
from bench.engine.step import Core
from bench.errors import BenchError

SHAPES = [(24, 16), (16, 24), (12, 12), (20, 12)]
STEPS, FIRST, LAST = 44, 3, 9
SCHEDULE = RankSchedule(
    initial_budget=16, target_budget=5, initial_steps=6, final_steps=8, interval=1, total_steps=STEPS
)  # freezes at 36
ONE = torch.ones(())


def new_cell(correlation: float = 0.9, slope: float = 2.0, recipe: dict[str, object] | None = None, **method) -> Cell:
    salience = Salience(first_window=FIRST, last_window=LAST, correlation=correlation, slope=slope)
    return cell_of(allocator="salientlora", method={"salience": salience, **method}, **(recipe or {}))


def new_core(**changes) -> Core:
    return core_of(SHAPES, 4, SCHEDULE, new_cell(**changes))


def data() -> list[tuple[Tensor, Tensor]]:
    return [batch for batch, _ in zip(batches(0, 8, width_of(SHAPES)), range(STEPS), strict=False)]


def train(core: Core, until: int = STEPS) -> None:
    for batch in data()[core.completed : until]:
        core.accumulate(loss_of(core.model, batch))
        core.step()


def salience(window: list[list[float]], penalties: list[float], matrices: list[int], low: float, steep: float):
    """Scores of all ranks from E of every step, by loops and recursion: (scores, influences)."""
    ranks, total = len(window[0]), sum(penalties)
    raw = [total / penalty for penalty in penalties]
    span = max(raw) - min(raw)
    weights = [(value - min(raw)) / span if span else 1.0 for value in raw]
    magnitudes = [sum(w * abs(step[i]) for w, step in zip(weights, window, strict=True)) for i in range(ranks)]
    means = [math.fsum(step[i] for step in window) / len(window) for i in range(ranks)]

    def product(i: int, j: int) -> float:
        return math.fsum((step[i] - means[i]) * (step[j] - means[j]) for step in window)

    edges: dict[int, dict[int, float]] = {i: {} for i in range(ranks)}
    for i in range(ranks):
        for j in range(ranks):
            if product(i, i) > 0 and product(j, j) > 0:
                together = product(i, j)
                steep_enough = together / product(i, i) >= steep
                if steep_enough and together / math.sqrt(product(i, i) * product(j, j)) >= low:
                    edges[i][j] = together / product(i, i)

    def domain(i: int, above: tuple[int, ...] = ()) -> float:
        assert i not in above  # no cycle
        return sum(s * domain(j, (*above, i)) for j, s in edges[i].items()) if edges[i] else 1.0

    domains = [domain(i) if edges[i] else 0.0 for i in range(ranks)]
    shares = [d / sum(domains) if sum(domains) else 0.0 for d in domains]
    scores = []
    for i in range(ranks):
        whole = sum(m for m, matrix in zip(magnitudes, matrices, strict=True) if matrix == matrices[i])
        scores.append(shares[i] + (magnitudes[i] / whole if whole else 0.0))
    return scores, shares


@pytest.mark.parametrize(("low", "steep"), [(0.9, 2.0), (0.5, 1.2)])
def test_every_mask_is_that_of_an_independent_implementation(low: float, steep: float) -> None:
    core = new_core(correlation=low, slope=steep, compact=False)
    matrices = [site for site, _ in core.flat.layout.ranks_of_triplets]
    live = [True] * 16
    window: list[list[float]] = []
    penalties: list[float] = []
    left, ends, influenced = FIRST, [], 0
    for step, batch in enumerate(data(), start=1):
        penalty = float(peft_regularizer(core.model, 0.1).detach())
        decide, seen = core.allocator.after_step, []

        def watch(step: int, facts: StepFacts, decide=decide, seen=seen) -> bool:
            seen.append(core.flat.singular.clone())
            return decide(step, facts)

        core.allocator.after_step = watch
        core.accumulate(loss_of(core.model, batch))
        changed = core.step().masked
        core.allocator.after_step = decide
        assert changed == (6 < step <= 36 and (left == 1 or step == 36))
        if not 6 < step <= 36:
            assert sum(map(sum, core.masks().values())) == (16 if step <= 6 else 5)
            continue
        window.append([float(value) * lives for value, lives in zip(seen[0].double(), live, strict=True)])
        penalties.append(penalty)
        left -= 1
        if left and step < 36:
            # An evaluation inside of a window obeys the budget of its step, with what the window has so far.
            assert sum(map(sum, core.masks().values())) <= SCHEDULE.budget(step)
            continue
        size = LAST + (FIRST - LAST) * (1 - (step - 6) / 30) ** 3
        left = round(size)
        budget = 5 if step == 36 else min(int(16 - left / LAST * (16 - 5)), SCHEDULE.budget(step))
        scores, shares = salience(window, penalties, matrices, low, steep)
        influenced += sum(share > 0 for share in shares)
        best = sorted((i for i in range(16) if live[i]), key=lambda i: -scores[i])[:budget]
        live = [i in best for i in range(16)]
        assert core.budget_mask().tolist() == live, step
        ends.append(step)
        window, penalties = [], []
    assert ends[0] == 6 + FIRST
    assert ends[-1] == 36
    assert len(ends) >= 4
    assert influenced  # some ranks depended on others, so that the influence was compared as well
    assert sum(live) == 5


def test_the_salience_by_hand() -> None:
    """Three ranks in one matrix: the second goes with the first three times as fast, the third on its own."""
    core = core_of([(4, 4)], 3, RankSchedule(initial_budget=3, target_budget=1, total_steps=9))
    score = SalientScore(core.flat, SalienceOptions())
    for values, penalty in (([1.0, 3.0, -2.0], 1.0), ([2.0, 6.0, 2.0], 2.0), ([3.0, 9.0, -2.0], 4.0)):
        core.flat.singular.copy_(torch.tensor(values))
        score.update(StepFacts(ONE, None, ONE, regularizer=torch.tensor(penalty)), final=False)
    # 1/R is 1, 1/2, 1/4: weights 1, 1/3, 0. Magnitudes 1 + 2/3, 3 + 2, 2 + 2/3. Only the first has influence.
    magnitudes = torch.tensor([5 / 3, 5.0, 8 / 3])
    want = magnitudes / magnitudes.sum() + torch.tensor([1.0, 0.0, 0.0])
    torch.testing.assert_close(score.of_triplets(), want)


def test_what_is_pruned_stays_pruned() -> None:
    core, gone = new_core(compact=False), torch.zeros(16, dtype=torch.bool)
    for until in range(1, STEPS + 1):
        train(core, until)
        assert not core.flat.singular[gone].any()
        if core.budget_mask() is not None:
            assert not (core.budget_mask() & gone).any()
        if core.allocator._mask is not None:
            gone |= ~core.allocator._mask
    assert gone.sum() == 11


@pytest.mark.parametrize("stops", [(3,), (8,), (9,), (10,), (17, 18), (35,), (36,), (40,), (7, 9, 20, 36)], ids=str)
@pytest.mark.parametrize("method", [{}, {"unit": "parameters"}, {"compact": False}], ids=str)
def test_an_interrupted_training_goes_on_bit_for_bit(stops: tuple[int, ...], method: dict[str, object]) -> None:
    whole, core = new_core(**method), new_core(**method)
    for stop in stops:
        train(core, stop)
        train(whole, stop)
        tensors, plain = core.state_dict()
        core = new_core(**method)
        core.flat.data.normal_()
        core.load_state_dict(tensors, json.loads(json.dumps(plain)))
        assert core.masks() == whole.masks()  # what an evaluation right after the start sees
        assert core.allocator.bytes() == whole.allocator.bytes()
    train(core)
    train(whole)
    assert_same_bits(core, whole)


def test_a_skipped_step_counts_nowhere() -> None:
    core = new_core()
    train(core, 8)
    score = core.allocator._score
    assert score is not None
    before = score.of_triplets()
    core.flat.singular.add_(5.0)  # were the step counted, this would show
    score.update(StepFacts(torch.zeros(()), None, ONE, regularizer=torch.tensor(1e-6)), final=False)
    torch.testing.assert_close(score.of_triplets(), before)
    score.update(StepFacts(ONE, None, ONE, regularizer=torch.tensor(1e-6)), final=False)
    assert not torch.allclose(score.of_triplets(), before)


def test_without_a_penalty_all_steps_count_alike() -> None:
    core = new_core(recipe={"orthogonality": 0.0})
    train(core, 8)
    score = core.allocator._score
    assert score is not None
    values = score.state()["window"][:, :16].double()
    assert len(values) == 2
    owners = [site for site, _ in core.flat.layout.ranks_of_triplets]
    want, _ = salience(values.tolist(), [1.0, 1.0], owners, 0.9, 2.0)
    torch.testing.assert_close(score.of_triplets().double(), torch.tensor(want).double(), rtol=1e-4, atol=1e-6)


def test_micro_batches_prune_as_one_batch_does() -> None:
    whole, parts = new_core(), new_core()
    for x, y in data()[:13]:  # later on rounding grows
        whole.accumulate(loss_of(whole.model, (x, y)))
        for part in (slice(0, 4), slice(4, 8)):
            parts.accumulate(loss_of(parts.model, (x[part], y[part])), share=0.5)
        whole.step()
        parts.step()
        assert whole.masks() == parts.masks()
    assert sum(map(sum, whole.masks().values())) < 16


def test_the_budget_ends_at_the_cap_whatever_the_windows_are() -> None:
    for first, last in ((1, 1), (10, 200), (500, 500)):
        salience_block = Salience(first_window=first, last_window=last)
        cell = cell_of(allocator="salientlora", method={"salience": salience_block})
        core = core_of(SHAPES, 4, SCHEDULE, cell)
        for until in range(1, STEPS + 1):
            train(core, until)
            assert sum(map(sum, core.masks().values())) <= SCHEDULE.budget(until)
        assert sum(map(sum, core.masks().values())) == 5
        assert core.allocator.bytes() == 0


def test_bad_settings_are_refused() -> None:
    method = {"name": "m", "label": "m", "adapter": "adalora"}
    with pytest.raises(ValidationError, match="`salience` and the allocator salientlora go together"):
        Method(**method, allocator="salientlora")
    with pytest.raises(ValidationError, match="`salience` and the allocator salientlora go together"):
        Method(**method, allocator="adalora", salience=Salience())
    with pytest.raises(ValidationError, match="last_window 3 is smaller than first_window 5"):
        Salience(first_window=5, last_window=3)
    with pytest.raises(ValidationError, match="greater than 1"):
        Salience(slope=1.0)
    core = new_core()
    options = AllocatorOptions(name="salientlora", salience=SalienceOptions(slope=0.5))
    with pytest.raises(BenchError, match="expected slope > 1"):
        build_allocator(core.flat, SCHEDULE, options)
