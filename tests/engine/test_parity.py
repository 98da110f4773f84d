"""Default mode equals PEFT's RankAllocator step for step, over whole trainings of all three phases.

Both sides train freely from equal models; nothing is ever synchronized between them. Where a mask hangs on a difference
below float32 rounding both answers are right, and the comparison ends there.
"""

from __future__ import annotations

import torch
from helpers.toy_models import PeftLoop, adapted, batches, cell_of, core_of, loss_of, width_of
from hypothesis import event, given, settings
from hypothesis import strategies as st

from bench.engine.schedule import RankSchedule

WIDTHS = st.sampled_from([4, 6, 8, 16])
SHAPES = st.lists(st.tuples(WIDTHS, WIDTHS), min_size=1, max_size=5)


@st.composite
def trainings(draw):
    shapes = draw(SHAPES)
    rank = draw(st.integers(2, 6))
    target = draw(st.integers(1, rank - 1))
    total = draw(st.integers(4, 40))
    initial = draw(st.integers(0, total - 2))
    final = draw(st.integers(0, total - max(initial + 1, 2)))  # PEFT has no importance yet where it freezes at step 1
    schedule = RankSchedule(
        initial_budget=rank * len(shapes),
        target_budget=target * len(shapes),
        initial_steps=initial,
        final_steps=final,
        interval=draw(st.integers(1, 7)),
        total_steps=total,
    )
    recipe = {
        "importance_betas": draw(st.sampled_from([(0.85, 0.85), (0.5, 0.9)])),
        "gradient_clip": draw(st.sampled_from([None, 0.05, 1.0])),
        "orthogonality": draw(st.sampled_from([0.0, 0.1, 0.5])),
        "adam_epsilon": 1e-3,  # at 1e-8 a gradient that is rounding noise moves its parameter by the whole rate
        "weight_decay": draw(st.sampled_from([0.0, 0.1])),
    }
    return shapes, rank, target, schedule, recipe, draw(st.integers(0, 2**16))


@settings(max_examples=60, deadline=None)
@given(trainings())
def test_a_whole_training_equals_pefts(training):
    shapes, rank, target, schedule, recipe, seed = training
    cell = cell_of(rank=target, initial_rank=rank, method={"compact": False}, **recipe)
    core = core_of(shapes, rank, schedule, cell, seed=seed, target=target)
    peft = PeftLoop(adapted(shapes, rank, schedule, seed=seed, target=target), core)
    peft.allocator.beta1, peft.allocator.beta2 = recipe["importance_betas"]
    data = batches(seed, 8, width_of(shapes))
    for step in range(1, schedule.total_steps + 1):
        batch = next(data)
        core.accumulate(loss_of(core.model, batch))
        report = core.step()
        loss = peft.step(batch)
        torch.testing.assert_close(report.loss, loss, rtol=1e-4, atol=1e-5)
        assert report.budget == peft.allocator.budget_schedule(step)[0]
        if step < schedule.freezes_at:
            assert_same_importance(core, peft)
        if report.masked and core.masks() != peft.pattern():
            assert hangs_on_rounding(core, peft)
            event("ended at a mask that hangs on rounding")
            return
        assert_same_parameters(core, peft)
    assert core.masks() == peft.pattern()
    assert sum(core.live_ranks().values()) == schedule.target_budget
    event("whole training")


def hangs_on_rounding(core, peft) -> bool:
    """Whether the ranks on which the two disagree are equally important to PEFT, to float32 rounding."""
    theirs = peft.pattern()
    differ = [
        peft.scores[name, rank]
        for name, mask in core.masks().items()
        for rank, lives in enumerate(mask)
        if lives != theirs[name][rank]
    ]
    return max(differ) - min(differ) <= 1e-3 * max(differ)


def assert_same_importance(core, peft) -> None:
    tensors, _ = core.allocator.state()
    for name, theirs in (("average", peft.allocator.exp_avg_ipt), ("deviation", peft.allocator.exp_avg_unc)):
        for site, views in zip(core.flat.layout.sites, core.flat.factors(tensors[name]), strict=True):
            for factor, view in zip(("lora_A", "lora_B", "lora_E"), views, strict=True):
                want = theirs[f"{site.name}.{factor}.default"]
                torch.testing.assert_close(view, want, rtol=1e-3, atol=1e-7)


def assert_same_parameters(core, peft) -> None:
    for site, views in zip(core.flat.layout.sites, core.flat.factors(core.flat.data), strict=True):
        for view, want in zip(views, peft.factors(site), strict=True):
            torch.testing.assert_close(view, want.detach(), rtol=1e-3, atol=1e-5)
