"""At step 0 the adapter's gradient is exactly proportional to alpha: B is zero, so only B has one, times the scale."""

from __future__ import annotations

import torch
from helpers.toy_models import adapted, batches, cell_of, loss_of, sites_of, width_of

from bench.engine.schedule import RankSchedule
from bench.models.core import build_core

SHAPES = [(8, 16), (16, 8), (8, 8)]


def test_the_first_gradient_of_the_adapter_is_proportional_to_alpha() -> None:
    norms = []
    for alpha in (4.0, 8.0, 16.0, 32.0):
        model = adapted(SHAPES, 8, svd=False, alpha=alpha)
        cell = cell_of(adapter="lora", allocator="fixed", rank=8, alpha=alpha, gradient_clip=None)
        core = build_core(
            model, sites_of(SHAPES), cell, RankSchedule(initial_budget=24, target_budget=24, total_steps=2)
        )
        core.accumulate(loss_of(model, next(batches(0, 8, width_of(SHAPES)))))
        norms.append(float(torch.linalg.vector_norm(core.flat.grad[: core.flat.layout.adapter_elements])))
    assert norms[0] > 0
    assert [norm / norms[0] for norm in norms] == [1.0, 2.0, 4.0, 8.0]  # powers of two: no rounding
