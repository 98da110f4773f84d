"""SoRA: AdamW's step, then the proximal step of the paper, on every gate; and a hard budget at the freeze."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from helpers.plain_adapters import PlainAdapters
from helpers.toy_models import assert_same_bits, batches, cell_of, core_of, loss_of, width_of

from bench.engine.schedule import RankSchedule
from bench.engine.step import Core

SHAPES = [(8, 16), (16, 8), (8, 8), (12, 8)]
RANK, STEPS = 6, 18
SCHEDULE = RankSchedule(
    initial_budget=RANK * len(SHAPES), target_budget=9, initial_steps=3, final_steps=6, interval=2, total_steps=STEPS
)
CUT = SCHEDULE.freezes_at
DATA = [batch for batch, _ in zip(batches(0, 8, width_of(SHAPES)), range(STEPS), strict=False)]


def made(schedule: RankSchedule = SCHEDULE, sparsity: float = 4.0, rank: int = RANK, **method: object) -> Core:
    chosen = {"sparsity": sparsity, "regularizer": False, **method}
    cell = cell_of(allocator="sora", method=chosen, gradient_clip=None)
    return core_of(SHAPES, rank, schedule, cell)


def train(core: Core, until: int = STEPS) -> list[float]:
    losses = []
    for step in range(core.completed, until):
        core.accumulate(loss_of(core.model, DATA[step]))
        losses.append(float(core.step().loss))
    return losses


def gates(core: Core) -> list[torch.Tensor]:
    return [e.flatten() for _, _, e in core.flat.factors(core.flat.data)]


def soft(gate: torch.Tensor, threshold: float) -> torch.Tensor:
    """The paper's T, element by element."""
    values = []
    for x in gate.tolist():
        values.append(x - threshold if x > threshold else x + threshold if x < -threshold else 0.0)
    return torch.tensor(values)


def test_gates_start_as_the_paper_draws_them_and_change_no_output() -> None:
    core = made(rank=8)
    drawn = torch.cat(gates(core))
    assert len(drawn.unique()) == len(drawn) == 32
    assert abs(float(drawn.mean())) < 0.6
    assert 0.6 < float(drawn.std()) < 1.4
    assert torch.equal(drawn, torch.cat(gates(made(rank=8))))
    assert all(a.any() and not b.any() for a, b, _ in core.flat.factors(core.flat.data))
    core.model.eval()
    x, _ = DATA[0]
    with core.model.disable_adapter():
        base = core.model(x)
    torch.testing.assert_close(core.model(x), base, rtol=0, atol=1e-6)


@pytest.mark.parametrize("unit", ["ranks", "parameters"])
def test_step_by_step_it_is_the_papers_rule(unit: str) -> None:
    costs = [i + o + 1 if unit == "parameters" else 1 for i, o in SHAPES]
    budget = 9 if unit == "ranks" else 240
    schedule = RankSchedule(initial_budget=RANK * sum(costs), target_budget=budget, final_steps=6, total_steps=STEPS)
    core = made(schedule, unit=unit)
    plain = PlainAdapters(core, [core.learning_rate(step) for step in range(STEPS)])
    zeros = []
    for step, batch in enumerate(DATA):
        assert train(core, step + 1)[0] == pytest.approx(plain.step(batch), rel=1e-4)
        if step + 1 <= CUT:
            for gate in plain.e:
                gate.data = soft(gate.data, plain.rate * 4.0)
            zeros.append(sum(int((gate == 0).sum()) for gate in plain.e))
        if step + 1 == CUT:
            order = sorted(  # among equal scores, such as zeros, the first ranks of every matrix win
                (-abs(x) / costs[site], rank, site)
                for site, gate in enumerate(plain.e)
                for rank, x in enumerate(gate.tolist())
            )
            left, stay = budget, [torch.zeros(RANK, dtype=torch.bool) for _ in SHAPES]
            for _, rank, site in order:
                if costs[site] <= left:
                    left -= costs[site]
                    stay[site][rank] = True
            assert core.masks() == {f"layers.{site}": mask.tolist() for site, mask in enumerate(stay)}
            for site, mask in enumerate(stay):
                for factor, dim in ((plain.a[site], 0), (plain.b[site], 1), (plain.e[site], 0)):
                    state, places = plain.optimizer.state[factor], mask.nonzero().flatten()
                    factor.data = factor.data.index_select(dim, places)
                    for name in ("exp_avg", "exp_avg_sq"):
                        state[name] = state[name].index_select(dim, places)
        for ours, theirs in zip(gates(core), plain.e, strict=True):
            torch.testing.assert_close(ours, theirs.detach(), rtol=1e-4, atol=1e-5)
    assert zeros[0] < zeros[-1]  # the penalty did something before the freeze
    assert sum(costs[site] * len(gate) for site, gate in enumerate(plain.e)) <= budget


def test_a_gate_at_zero_may_come_back_before_the_freeze_only_if_it_is_pulled() -> None:
    core = made(sparsity=0.5)  # AdamW's step is about the rate, the threshold half of it
    train(core, 2)
    core.flat.singular.zero_()
    core.flat.fold()
    train(core, 3)
    back = int((core.flat.singular != 0).sum())
    assert back > 0
    strong = made(sparsity=50.0)
    train(strong, 2)
    strong.flat.singular.zero_()
    strong.flat.fold()
    train(strong, 3)
    assert not strong.flat.singular.any()


def test_a_skipped_step_and_a_matrix_without_gradient_shrink_nothing() -> None:
    core = made()
    train(core, 2)
    before = core.flat.data.clone()
    core.accumulate(loss_of(core.model, DATA[2]) * float("inf"))
    assert float(core.step().skipped) == 1
    assert torch.equal(core.flat.data, before)
    old = [gate.clone() for gate in gates(core)]
    core.accumulate(loss_of(core.model, DATA[3], skip=(1,)))
    core.step()
    same = [torch.equal(new, gate) for new, gate in zip(gates(core), old, strict=True)]
    assert same == [False, True, False, False]


def test_all_gates_live_until_the_freeze_and_no_penalty_follows_it() -> None:
    core = made()
    train(core, CUT - 1)
    assert core.budget_mask() is None
    assert sum(core.live_ranks().values()) == RANK * len(SHAPES)
    train(core, CUT)
    assert sum(core.live_ranks().values()) == core.flat.layout.triplets == SCHEDULE.target_budget
    free = made()
    free.load_state_dict(*core.state_dict())
    free.allocator._options = type(free.allocator._options)(name="sora", sparsity=1e6)
    assert train(free) == train(core)


def test_without_compaction_what_was_cut_stays_zero() -> None:
    core, lean = made(compact=False), made()
    assert train(core) == pytest.approx(train(lean), rel=1e-5)
    mask = torch.tensor([live for lives in core.masks().values() for live in lives])
    assert core.masks() == lean.masks()
    assert core.flat.layout.triplets == RANK * len(SHAPES)
    assert not torch.cat(gates(core))[~mask].any()
    assert torch.cat(gates(core))[mask].all()


def test_where_the_budget_pays_for_all_nothing_is_cut_and_gates_are_still_sparse() -> None:
    core = made(RankSchedule(initial_budget=24, target_budget=24, final_steps=6, total_steps=STEPS), sparsity=20.0)
    train(core)
    assert sum(core.live_ranks().values()) == 24
    assert core.allocator.frozen
    free = made(RankSchedule(initial_budget=24, target_budget=24, final_steps=6, total_steps=STEPS), sparsity=0.0)
    train(free)
    assert core.flat.singular.abs().sum() < free.flat.singular.abs().sum()


def test_accumulation_decides_as_larger_batches_do() -> None:
    core, parts = made(), made()
    for x, y in DATA[:CUT]:
        core.accumulate(loss_of(core.model, (x, y)))
        core.step()
        for half in (slice(0, 4), slice(4, 8)):
            parts.accumulate(loss_of(parts.model, (x[half], y[half])), 0.5)
        parts.step()
    assert core.masks() == parts.masks()
    torch.testing.assert_close(core.flat.singular, parts.flat.singular, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("compact", [True, False])
@pytest.mark.parametrize("stops", [(2,), (CUT - 1,), (CUT,), (CUT + 2,), (4, CUT, CUT + 1, STEPS - 1)], ids=str)
def test_an_interrupted_training_goes_on_bit_for_bit(tmp_path: Path, compact: bool, stops: tuple[int, ...]) -> None:
    whole, core = made(compact=compact), made(compact=compact)
    want, got = train(whole), []
    for stop in stops:
        got += train(core, stop)
        tensors, plain = core.state_dict()
        safetensors.torch.save_file(tensors, tmp_path / "state")
        core = made(compact=compact)
        core.flat.data.normal_()
        core.load_state_dict(safetensors.torch.load_file(tmp_path / "state"), json.loads(json.dumps(plain)))
    assert got + train(core) == want
    assert_same_bits(core, whole)
    assert core.masks() == whole.masks()
