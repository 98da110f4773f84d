"""B1 to B12: what PEFT's AdaLoRA does wrong with budget and schedule, and ours does not.

Where it is cheap a test shows PEFT's fault too: the day PEFT mends it, that test fails and says so.
"""

from __future__ import annotations

import pytest
import torch
from helpers.toy_models import PeftLoop, adapted, batches, cell_of, core_of, loss_of, peft_regularizer

from bench.config.rank_schedule import schedule_of
from bench.engine.allocators.adalora import AdaLora
from bench.engine.allocators.base import StepFacts
from bench.engine.schedule import RankSchedule
from bench.errors import BenchError

SHAPES = [(8, 16), (16, 8), (8, 8), (12, 8)]
ONE = torch.ones(())


def plan(**changes) -> RankSchedule:
    values = {"initial_budget": 16, "target_budget": 8, "initial_steps": 2, "final_steps": 4, "total_steps": 12}
    return RankSchedule(**{**values, **changes})


def train(core, steps: int, data) -> None:
    for _ in range(steps):
        core.accumulate(loss_of(core.model, next(data)))
        core.step()


def train_peft(peft, steps: int, data) -> None:
    for _ in range(steps):
        peft.step(next(data))


def peft_of(schedule: RankSchedule, **kwargs) -> PeftLoop:
    core = core_of(SHAPES, 4, schedule)  # lends its recipe and learning rates
    return PeftLoop(adapted(SHAPES, 4, schedule, target=2, **kwargs), core)


def live(model) -> int:
    return sum(int((p != 0).sum()) for n, p in model.named_parameters() if "lora_E" in n)


BAD = [
    ({"target_budget": 17}, "target budget 17 is larger than initial budget 16"),
    ({"interval": 0}, "greater than 0"),
    ({"initial_steps": -1}, "greater than or equal to 0"),
    ({"target_budget": -8}, "greater than 0"),
    ({"initial_steps": 8}, r"initial_steps 8 \+ final_steps 4 >= total_steps 12"),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_defect_B1_every_bad_schedule_is_refused_with_its_numbers(changes, message):
    with pytest.raises(ValueError, match=message):
        plan(**changes)


def test_defect_B1_a_target_equal_to_the_start_trains_and_prunes_nothing():
    shapes = [(i, o) for i, o in SHAPES]
    schedule = schedule_of(cell_of(rank=4, initial_rank=4, epochs=1), 320, shapes)
    core = core_of(shapes, 4, schedule)
    train(core, schedule.total_steps, batches(0, 4, 16))
    assert set(core.live_ranks().values()) == {4}
    peft = PeftLoop(adapted(shapes, 4, schedule, target=4), core)
    with pytest.raises(RuntimeError, match="kthvalue"):
        train_peft(peft, schedule.total_steps, batches(0, 4, 16))


def test_defect_B2_the_freeze_is_not_missed_by_calls_with_a_stride():
    schedule = plan(interval=50)  # freezes at 8
    core = core_of(SHAPES, 4, schedule)
    allocator = AdaLora(core.flat, schedule)
    core.accumulate(loss_of(core.model, next(batches(0, 4, 16))))
    for step in (5, 10, 12):
        allocator.after_step(step, StepFacts(ONE, None, ONE))
    assert allocator.frozen
    assert int(allocator.mask(12).sum()) == 8
    peft = peft_of(schedule)
    loss_of(peft.model, next(batches(0, 4, 16))).backward()
    peft.model.base_model.update_and_allocate(5)
    with pytest.raises(AttributeError, match="keys"):
        peft.model.base_model.update_and_allocate(10)


def test_defect_B3_without_final_steps_the_training_ends_in_its_budget():
    schedule = plan(final_steps=0, interval=100)
    core = core_of(SHAPES, 4, schedule)
    train(core, 12, batches(0, 4, 16))
    assert sum(core.live_ranks().values()) == 8
    peft, data = peft_of(schedule), batches(0, 4, 16)
    for step in range(12):  # as PEFT's example counts
        peft.step(next(data), allocate=False)
        loss_of(peft.model, next(data)).backward()
        peft.model.base_model.update_and_allocate(step)
    assert live(peft.model) > 8


def test_defect_B4_evaluating_between_masks_obeys_the_budget_of_the_step():
    schedule = plan(interval=3, total_steps=20)
    core, data = core_of(SHAPES, 4, schedule), batches(0, 8, 16)
    held = next(data)
    for step in range(1, 21):
        train(core, 1, data)
        before, loss = core.flat.data.clone(), loss_of(core.model, held)
        with core.budget_view():
            assert live(core.model) <= schedule.budget(step)
            assert sum(core.live_ranks().values()) == schedule.budget(step)
        assert torch.equal(core.flat.data, before)
        assert torch.equal(loss_of(core.model, held), loss)
    peft, over = peft_of(schedule), []
    for step in range(1, 17):
        peft.step(next(data))
        over.append(live(peft.model) > peft.allocator.budget_schedule(step)[0])
    assert any(over)


def test_defect_B5_a_budget_in_parameters_is_a_hard_cap_on_the_exact_count():
    ranks = cell_of(rank=2, initial_rank=4, epochs=1)
    parameters = cell_of(rank=2, initial_rank=4, epochs=1, method={"unit": "parameters"})
    lora = 2 * sum(i + o for i, o in SHAPES)
    cheapest = min(i + o + 1 for i, o in SHAPES)
    for cell in (ranks, parameters):
        core = core_of(SHAPES, 4, schedule_of(cell, 3200, SHAPES), cell)
        train(core, 100, batches(0, 4, 16))
        kept = sum(p.numel() for n, p in core.model.named_parameters() if "lora_" in n)
        assert kept == core.live_parameters()
        if cell is parameters:
            assert core.schedule.target_budget == lora
            assert lora - cheapest < kept <= lora
        else:
            assert sum(core.live_ranks().values()) == core.schedule.target_budget == 8


def test_defect_B6_any_total_is_a_legal_budget():
    schedule = schedule_of(cell_of(rank=1.75, epochs=1), 320, SHAPES)
    assert schedule.target_budget == 7
    core = core_of(SHAPES, 3, schedule)
    train(core, schedule.total_steps, batches(0, 4, 16))
    assert sum(core.live_ranks().values()) == 7


def test_defect_B7_ties_keep_exactly_k():
    schedule = plan(target_budget=6, initial_steps=0, interval=1)
    core, data = core_of(SHAPES, 4, schedule, cell_of(orthogonality=0.0)), batches(0, 4, 16)
    core.accumulate(0.0 * loss_of(core.model, next(data)))  # no gradient: every importance is zero
    core.step()
    assert sum(core.live_ranks().values()) == schedule.budget(1)
    assert max(core.live_ranks().values()) - min(core.live_ranks().values()) <= 1  # no matrix is favored
    peft = peft_of(schedule)
    (0.0 * loss_of(peft.model, next(data))).backward()
    peft.model.base_model.update_and_allocate(1)
    assert sum(map(sum, peft.pattern().values())) == 0


def test_defect_B8_a_step_that_is_not_finite_is_skipped_and_counted():
    schedule, data = plan(), batches(0, 4, 16)
    core = core_of(SHAPES, 4, schedule)
    train(core, 3, data)
    before = core.state_dict()[0]
    core.accumulate(loss_of(core.model, next(data)) * float("inf"))
    report = core.step()
    assert report.skipped == 1
    assert core.skipped_steps() == 1
    after = core.state_dict()[0]
    for name in ("moment", "square", "optimizer_steps", "allocator.average", "allocator.deviation"):
        assert torch.equal(before[name], after[name]), name
    pruned = core.allocator.mask(core.completed)
    assert pruned is not None
    changed = (before["parameters"] != after["parameters"]).nonzero().flatten()  # the mask of the step, nothing else
    assert (changed >= core.flat.layout.row_elements).all()
    train(core, 8, data)
    assert core.flat.data.isfinite().all()
    assert sum(core.live_ranks().values()) == 8
    peft = peft_of(schedule)
    (loss_of(peft.model, next(data)) * float("inf")).backward()
    peft.model.base_model.update_and_allocate(1)
    peft.optimizer.zero_grad()
    for _ in range(3):
        loss_of(peft.model, next(data)).backward()
        peft.allocator.update_ipt(peft.model.base_model.model)
        peft.optimizer.zero_grad()
    assert any(t.isnan().any() for t in peft.allocator.exp_avg_ipt.values())


def test_defect_B9_a_module_without_gradient_keeps_its_averages():
    schedule, data = plan(), batches(0, 4, 16)
    core = core_of(SHAPES, 4, schedule)
    train(core, 3, data)
    before = core.state_dict()[0]
    core.accumulate(loss_of(core.model, next(data), skip=[1]))
    core.step()
    after = core.state_dict()[0]
    for name in ("parameters", "moment", "square", "allocator.average", "allocator.deviation"):
        for index in range(4):
            rows = core.flat.elements_of(index)[:2]  # A and B: E may be masked
            same = [torch.equal(before[name][part], after[name][part]) for part in rows]
            assert all(same) if index == 1 else not any(same), (name, index)
    train(core, 8, data)
    assert sum(core.live_ranks().values()) == 8
    peft = peft_of(schedule)
    loss_of(peft.model, next(data), skip=[1]).backward()
    with pytest.raises(TypeError):
        peft.model.base_model.update_and_allocate(1)


def test_defect_B10_which_gradient_the_importance_sees_is_a_choice_that_is_part_of_the_cell():
    found = {}
    for clip, gradient in ((None, "clipped"), (1e-3, "clipped"), (1e-3, "raw")):
        # epsilon keeps the first update independent of the gradient's scale
        cell = cell_of(gradient_clip=clip, adam_epsilon=1e-30, method={"importance_gradient": gradient})
        core = core_of(SHAPES, 4, plan(), cell, random=True)
        train(core, 1, batches(0, 4, 16))
        found[clip, gradient] = core.state_dict()[0]["allocator.average"], cell.spec_hash
    free, clipped, raw = found.values()
    torch.testing.assert_close(raw[0], free[0], rtol=1e-3, atol=1e-6)
    assert clipped[0].max() < 0.1 * free[0].max()
    assert clipped[1] != raw[1]


def test_defect_B11_a_wrong_order_can_not_be_written():
    core, data = core_of(SHAPES, 4, plan()), batches(0, 4, 16)
    with pytest.raises(BenchError, match="there is no gradient"):
        core.step()
    core.accumulate(loss_of(core.model, next(data)))
    core.model.zero_grad()
    with pytest.raises(BenchError, match="only the core may clear gradients"):
        core.step()
    peft = peft_of(plan())
    peft.step(next(data), allocate=False)
    with pytest.raises(TypeError):  # after zero_grad
        peft.model.base_model.update_and_allocate(1)


def test_defect_B12_pruned_ranks_are_removed_at_the_freeze():
    schedule, data = plan(), batches(0, 8, 16)
    core, peft = core_of(SHAPES, 4, schedule), peft_of(schedule)
    for _ in range(8):
        batch = next(data)
        core.accumulate(loss_of(core.model, batch))
        core.step()
        peft.step(batch)
    expected = sum(rank * (i + o + 1) for rank, (i, o) in zip(core.live_ranks().values(), SHAPES, strict=True))
    assert core.trainable_parameters()["adapter"] == expected
    assert sum(p.numel() for n, p in core.model.named_parameters() if "lora_" in n) == expected
    assert core.bytes()["optimizer"] == 8 * core.flat.elements
    assert core.allocator.bytes() == 0

    (loss_of(peft.model, next(data)) + peft_regularizer(peft.model, 0.1)).backward()
    pattern = peft.pattern()
    wasted = whole = 0.0
    for site in core.flat.layout.sites:
        pruned = ~torch.tensor(pattern[site.name])
        a, b, e = (p.grad.square() for p in peft.factors(site))
        wasted += float(a[pruned].sum() + b[:, pruned].sum() + e[pruned].sum())
        whole += float(a.sum() + b.sum() + e.sum())
    assert wasted > 0.1 * whole  # what clipping sees, for nothing
