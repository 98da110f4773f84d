"""The closed form equals autograd of PEFT's expression, for any shapes and ranks."""

from __future__ import annotations

import torch
from helpers.toy_models import adapted, peft_regularizer, sites_of, twin
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.engine.flat import FlatParameters
from bench.engine.regularizer import Regularizer

WIDTHS = st.sampled_from([4, 8, 12])
SHAPES = st.lists(st.tuples(WIDTHS, WIDTHS), min_size=1, max_size=5)


@settings(max_examples=40, deadline=None)
@given(SHAPES, st.integers(1, 6), st.integers(0, 2**16), st.floats(0.01, 2.0))
def test_value_and_gradient_are_those_of_autograd(shapes, rank, seed, weight):
    model = adapted(shapes, rank, seed=seed)
    theirs = twin(model)
    flat = FlatParameters(model, sites_of(shapes))
    want = peft_regularizer(theirs, weight)
    want.backward()
    flat.grad.fill_(0.25)  # it adds to what is there
    torch.testing.assert_close(Regularizer(flat, weight).add_gradient(), want.detach(), rtol=1e-4, atol=1e-6)
    grads = {n: p.grad for n, p in theirs.named_parameters()}
    for site, views in zip(flat.layout.sites, flat.factors(flat.grad), strict=True):
        for factor, view in zip(("lora_A", "lora_B"), views, strict=False):
            grad = grads[f"base_model.model.{site.name}.{factor}.default"]
            torch.testing.assert_close(view, grad + 0.25, rtol=1e-3, atol=1e-5)


def test_orthonormal_factors_have_no_gradient_and_no_nan():
    flat = FlatParameters(adapted([(8, 8), (8, 8)], 3), sites_of([(8, 8), (8, 8)]))
    with torch.no_grad():
        for a, b, _ in flat.factors(flat.data):
            a.copy_(torch.eye(8)[:3])
            b.copy_(torch.eye(8)[:, :3])
    assert Regularizer(flat, 0.5).add_gradient() == 0
    assert torch.equal(flat.grad, torch.zeros_like(flat.grad))
