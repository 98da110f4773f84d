"""Budgets of every step, and how a cell's schedule follows from its spec."""

from __future__ import annotations

import pytest
from helpers.toy_models import cell_of
from hypothesis import given
from hypothesis import strategies as st

from bench.config.rank_schedule import largest_rank, schedule_of
from bench.engine.schedule import RankSchedule
from bench.errors import BenchError

SHAPES = [(768, 768)] * 4 + [(768, 3072), (3072, 768)]


@st.composite
def schedules(draw):
    total = draw(st.integers(1, 300))
    initial = draw(st.integers(0, total - 1))
    return RankSchedule(
        initial_budget=draw(st.integers(1, 2000)),
        target_budget=1,
        initial_steps=initial,
        final_steps=draw(st.integers(0, total - 1 - initial)),
        interval=draw(st.integers(1, 40)),
        total_steps=total,
    )


@given(schedules())
def test_budgets_fall_from_the_first_to_the_target_and_stay(schedule):
    budgets = [schedule.budget(step) for step in range(schedule.total_steps + 1)]
    assert budgets == sorted(budgets, reverse=True)
    assert budgets[schedule.initial_steps] == schedule.initial_budget
    assert set(budgets[schedule.freezes_at :]) == {schedule.target_budget}
    masks = [step for step in range(1, schedule.total_steps + 1) if schedule.is_mask_step(step)]
    assert masks == [] if not schedule.prunes else masks[-1] == schedule.freezes_at


def test_the_decay_starts_where_the_paper_s_text_says_and_not_its_printed_equation():
    """Equation 12 as printed has t - t_i - t_f in the numerator: 630 ranks at t_i and 162 at T - t_f."""
    schedule = RankSchedule(
        initial_budget=288, target_budget=144, initial_steps=100, final_steps=300, interval=10, total_steps=1000
    )
    printed = (288 - 144) * (1 - (100 - 100 - 300) / 600) ** 3 + 144
    assert printed == 630
    assert (schedule.budget(100), schedule.budget(400), schedule.budget(700)) == (288, 162, 144)


def test_ranks_are_counted_over_all_matrices():
    schedule = schedule_of(cell_of(rank=2, epochs=100, max_steps=1000), 10_000, SHAPES)
    assert (schedule.initial_budget, schedule.target_budget) == (18, 12)
    assert (schedule.initial_steps, schedule.final_steps, schedule.interval) == (120, 480, 10)


def test_an_unpruned_adapter_has_one_budget():
    schedule = schedule_of(cell_of(adapter="lora", allocator="fixed", rank=8), 320, SHAPES)
    assert schedule.budget(1) == schedule.budget(schedule.total_steps) == 48


@pytest.mark.parametrize(
    ("rank", "given_rank", "want"), [(2, None, 3), (8, None, 12), (1, None, 2), (2, 4, 4), (2.5, None, 4)]
)
def test_initial_ranks(rank, given_rank, want):
    assert largest_rank(cell_of(rank=rank, initial_rank=given_rank), SHAPES) == want


def test_parameters_pay_for_uniform_ranks():
    lora = {"adapter": "lora", "allocator": "fixed", "rank": None}
    per_rank = sum(i + o for i, o in SHAPES)
    assert largest_rank(cell_of(**lora, parameters=2 * per_rank), SHAPES) == 2
    assert largest_rank(cell_of(**lora, parameters=3 * per_rank - 1), SHAPES) == 2
    with pytest.raises(BenchError, match="don't pay for rank 1"):
        largest_rank(cell_of(**lora, parameters=per_rank - 1), SHAPES)


def test_what_can_not_be_is_refused():
    with pytest.raises(BenchError, match="whole number"):
        largest_rank(cell_of(adapter="lora", allocator="fixed", rank=2.5), SHAPES)
    with pytest.raises(BenchError, match="counts ranks"):
        schedule_of(cell_of(rank=None, parameters=100_000), 320, SHAPES)
    phases = {"initial_steps": 6, "final_steps": 4, "interval": 1}
    with pytest.raises(BenchError, match=r"initial_steps 6 \+ final_steps 4 >= total_steps 10"):
        schedule_of(cell_of(rank_schedule=phases, epochs=1), 320, SHAPES)
    with pytest.raises(BenchError, match="no matrix"):
        schedule_of(cell_of(), 320, [])
