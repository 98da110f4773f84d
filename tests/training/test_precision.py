"""A base in half precision whose products are float32's: equal but for rounding, and nothing that is stored moves."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit
from helpers.small_cells import Lab, record_of
from helpers.toy_models import batches, core_of, loss_of
from torch import nn
from torch.nn import functional

from bench.engine.schedule import RankSchedule
from bench.models.precision import matmul_dtype, multiply_in_float32

SHAPES = [(64, 96), (96, 64)]


def half(quantized: bool) -> nn.Linear:
    torch.manual_seed(0)
    layer = nn.Linear(64, 96).bfloat16()
    if quantized:
        packed = Linear4bit(64, 96, compute_dtype=torch.bfloat16, quant_type="nf4")
        packed.load_state_dict(layer.state_dict())
        layer = packed.to("cpu").bfloat16()
        layer(torch.randn(1, 64))  # bitsandbytes settles at the first use
    return layer.requires_grad_(False)


@pytest.mark.parametrize("quantized", [False, True], ids=["bf16", "nf4"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_exact_product_rounded_once(quantized: bool, dtype: torch.dtype) -> None:
    layer = half(quantized)
    stored = {name: value.clone() for name, value in layer.state_dict().items()}
    weight = dequantize_4bit(layer.weight, layer.weight.quant_state) if quantized else layer.weight
    model = nn.Sequential(layer)
    multiply_in_float32(model)
    layer = model[0]
    x = torch.randn(2, 5, 64).to(dtype).requires_grad_()
    twin = x.detach().double().requires_grad_()
    given, exact = layer(x), functional.linear(twin, weight.double(), layer.bias.double())
    grad = torch.randn_like(given)
    given.backward(grad)
    exact.backward(grad.double())
    assert (given.dtype, x.grad.dtype) == (dtype, dtype)
    step = 2e-6 if dtype == torch.float32 else 2**-8  # half a unit in the last place, of the largest in the row
    for found, wanted in ((given, exact), (x.grad, twin.grad)):
        assert (found.double() - wanted).abs().max() <= step * wanted.abs().max()
    for name, value in layer.state_dict().items():
        assert value.dtype == stored[name].dtype, name
        assert torch.equal(value, stored[name]), name


def test_adapters_on_top_train_alike() -> None:
    schedule = RankSchedule(
        initial_budget=8, target_budget=4, initial_steps=2, final_steps=4, interval=2, total_steps=12
    )
    stored, unpacked = (core_of(SHAPES, 4, schedule, dtype=torch.bfloat16) for _ in range(2))
    multiply_in_float32(unpacked.model)
    for _, batch in zip(range(12), batches(0, 32, 96), strict=False):
        losses = []
        for core in (stored, unpacked):
            loss = loss_of(core.model, batch)
            losses.append(loss.item())
            core.accumulate(loss)
            core.step()
        assert losses[1] == pytest.approx(losses[0], rel=5e-3)
    assert unpacked.masks() == stored.masks()
    # The product itself is float32's, rounded once. Whether bfloat16's own rounds otherwise depends on the processor.
    base = unpacked.model.get_base_model().layers[0].base_layer
    x = torch.randn(4, base.in_features, dtype=torch.bfloat16)
    exact = torch.nn.functional.linear(x.float(), base.weight.float(), base.bias.float())
    assert torch.equal(base(x), exact.bfloat16())


@pytest.mark.parametrize("method", ["qlora_adalora", "lora_bf16", "adalora"])
def test_the_record_says_which(lab: Lab, tmp_path, method: str) -> None:
    cell = lab.prepare(lab.cell(method))
    assert lab.train(cell, tmp_path / "out") == 0
    expected = matmul_dtype("cpu", cell.method.storage)
    assert f"torch.{record_of(tmp_path / 'out').environment['matmul_precision']}" == str(expected)


def test_a_torch_without_onednn_multiplies_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS: the operator that would be asked is missing, and so are the kernels."""
    operators = SimpleNamespace()
    monkeypatch.setattr(torch.ops, "mkldnn", operators)
    assert matmul_dtype("cpu", "nf4") == matmul_dtype("cpu", "bf16") == torch.float32
    operators._is_mkldnn_bf16_supported = lambda: True
    assert matmul_dtype("cpu", "nf4") == torch.bfloat16


def test_this_processor_is_not_asked_for_what_it_can_not() -> None:
    """A product in the type that is chosen takes no many times as long as in float32 (measured side by side)."""
    one = torch.ones(512, 512)
    half_one = one.to(matmul_dtype("cpu", "nf4"))

    def fastest(product: Callable[[], object]) -> float:
        times = []
        for _ in range(7):
            clock = time.perf_counter()
            product()
            times.append(time.perf_counter() - clock)
        return min(times)

    assert fastest(lambda: half_one @ half_one) < 4 * fastest(lambda: one @ one)
