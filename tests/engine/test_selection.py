"""Exactly as many ranks as the budget allows, whatever the scores are."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.engine.allocators.cut import affordable_ranks, top_ranks

SCORES = st.lists(st.sampled_from([0.0, 1e-12, 0.5, 1.0, 2.0]) | st.floats(0, 1e6, width=32), min_size=1, max_size=60)


@given(SCORES, st.randoms(use_true_random=False), st.data())
def test_top_ranks_keeps_the_best_and_breaks_ties_in_order(scores, random, data):
    count = data.draw(st.integers(0, len(scores)))
    order = list(range(len(scores)))
    random.shuffle(order)
    values = torch.tensor(scores)
    mask = top_ranks(values, count, torch.tensor(order))
    kept = [t for t in order if mask[t]]
    assert kept == sorted(sorted(order, key=lambda t: (-values[t].item(), order.index(t)))[:count], key=order.index)


@given(SCORES, st.data())
def test_affordable_ranks_never_exceed_the_limit_and_leave_no_room(scores, data):
    costs = data.draw(st.lists(st.sampled_from([17, 33, 40]), min_size=len(scores), max_size=len(scores)))
    limit = data.draw(st.integers(0, sum(costs) + 10))
    mask = affordable_ranks(torch.tensor(scores), torch.tensor(costs), limit, torch.arange(len(scores))).tolist()
    spent = sum(cost for cost, lives in zip(costs, mask, strict=True) if lives)
    assert spent <= limit
    assert all(spent + cost > limit for cost, lives in zip(costs, mask, strict=True) if not lives)


def test_affordable_ranks_prefer_importance_per_parameter():
    mask = affordable_ranks(torch.tensor([3.0, 2.0, 2.0]), torch.tensor([30, 10, 10]), 30, torch.arange(3))
    assert mask.tolist() == [False, True, True]
