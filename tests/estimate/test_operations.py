"""Floating-point operations of a training step, from shapes, compared with sums worked out by hand."""

from __future__ import annotations

import pytest
import torch

from bench.config.method import PeftChoice
from bench.config.resolve import load_study
from bench.estimate.parameters import predict_parameters
from bench.estimate.tracing import BatchShape, trace
from bench.training.measure import matrix_rate

WIDTH, INNER, LAYERS, SITES = 384, 1536, 6, 36  # MiniLM
MATRICES = 4 * WIDTH**2 + 2 * WIDTH * INNER  # of a layer


def operations(method: str, rows: int, length: int, *overrides: str) -> int:
    cell = load_study("demo", list(overrides)).find("sst2", method, "small", 0)
    predicted = predict_parameters(cell)
    return trace(cell, BatchShape(rows, length), "cpu", predicted.sites, predicted.rank).operations


@pytest.mark.parametrize(("rows", "length"), [(32, 64), (8, 128)])
def test_a_step_of_lora(rows: int, length: int) -> None:
    """Operations by part; the head, which is left out, is 0.1%.

    Frozen matrices: forward, and backward to their inputs (query, key and value of the first layer need no gradient of
    theirs). Attention: two matmuls, forward and twice backward. Adapters: forward and twice backward.
    """
    tokens = rows * length
    frozen = 2 * tokens * (2 * LAYERS * MATRICES - 3 * WIDTH**2)
    attention = 3 * LAYERS * 2 * 2 * rows * length**2 * WIDTH
    adapter = 3 * 2 * tokens * 2 * LAYERS * (4 * 2 * WIDTH + 2 * (WIDTH + INNER))
    assert operations("lora", rows, length) == pytest.approx(frozen + attention + adapter, rel=0.003)


def test_a_rank_adds_what_its_matmuls_take() -> None:
    small, large = (
        operations("lora", 4, 32, f"budgets={{small: {{rank: {rank}, initial_rank: 12}}}}") for rank in (2, 10)
    )
    tokens, matrices = 4 * 32, LAYERS * (4 * 2 * WIDTH + 2 * (WIDTH + INNER))
    first_inputs = 3 * WIDTH  # of query, key and value of the first layer, which need no gradient
    assert large - small == 8 * 2 * tokens * (3 * matrices - first_inputs)


@pytest.mark.parametrize("config", ["LoHaConfig", "LoKrConfig"])
def test_an_adapter_that_may_leave_out_layers_at_random_is_counted_with_all_of_them(config: str) -> None:
    cell = load_study("demo").find("sst2", "lora", "small", 0)
    method = cell.method.model_copy(update={"adapter": "peft", "peft": PeftChoice(config=config)})
    other = cell.model_copy(update={"method": method})
    predicted = predict_parameters(cell)
    lora, traced = (trace(c, BatchShape(8, 32), "cpu", predicted.sites, predicted.rank) for c in (cell, other))
    # The frozen model is the same; its activations and its operations in both directions are most of either.
    assert traced.operations > 0.9 * lora.operations
    assert traced.activations > 0.7 * lora.activations


def test_a_full_training_takes_gradients_of_every_matrix_too() -> None:
    assert operations("full", 8, 64, "methods=[full]", "recipe_from=null") == pytest.approx(
        1.5 * operations("lora", 8, 64), rel=0.05
    )


def test_the_rate_is_that_of_a_matmul_timed_by_hand() -> None:
    """Each by its fastest so far: other processes may take the processor during a measurement, never speed it up."""
    from torch.utils.benchmark import Timer

    matrix = torch.ones(1024, 1024)
    timed = Timer("torch.mm(a, a)", globals={"torch": torch, "a": matrix}, num_threads=torch.get_num_threads())
    rate = by_hand = 0.0
    for _ in range(20):
        rate = max(rate, matrix_rate(torch.device("cpu"), torch.float32))
        by_hand = max(by_hand, 2 * 1024**3 / timed.timeit(1).mean)
        if rate == pytest.approx(by_hand, rel=0.5):
            return
    assert rate == pytest.approx(by_hand, rel=0.5)
