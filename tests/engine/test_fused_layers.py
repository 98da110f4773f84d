"""The fused layers equal PEFT's own, forward and backward, on every storage of the base."""

from __future__ import annotations

import copy
import warnings
from contextlib import nullcontext

import pytest
import torch
from helpers.toy_models import adapted, batches, loss_of, sites_of, twin
from peft import AdaLoraConfig, LoraConfig, PeftModel, get_peft_model
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint
from transformers.pytorch_utils import Conv1D

from bench.engine.flat import FlatParameters
from bench.errors import BenchError
from bench.models.sites import AdapterSite

SHAPES = [(8, 16), (16, 8), (8, 8), (12, 8)]


def gradients(model) -> dict[str, torch.Tensor]:
    return {n: p.grad for n, p in model.named_parameters() if p.requires_grad}


def flat_gradients(flat: FlatParameters) -> dict[str, torch.Tensor]:
    flat.unfold_gradients()
    found = {}
    for site, views in zip(flat.layout.sites, flat.factors(flat.grad), strict=True):
        for factor, view in zip(("lora_A", "lora_B", "lora_E"), views, strict=False):
            found[f"{site.name}.{factor}"] = view
    return found


def assert_equal_gradients(flat: FlatParameters, theirs, rtol: float, atol: float) -> None:
    want = gradients(theirs)
    for name, grad in flat_gradients(flat).items():
        key = next(k for k in want if f"{name}.default" in k)
        torch.testing.assert_close(grad, want[key], rtol=rtol, atol=atol, msg=lambda m, k=key: f"{k}: {m}")


@pytest.mark.parametrize("svd", [False, True], ids=["lora", "adalora"])
@pytest.mark.parametrize("dropout", [0.0, 0.3], ids=["plain", "dropout"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_equal_to_pefts_layers(svd, dropout, dtype):
    ours = adapted(SHAPES, 3, svd=svd, dropout=dropout, dtype=dtype, random=True)
    theirs = twin(ours)
    flat = FlatParameters(ours, sites_of(SHAPES))
    batch = next(batches(0, 4, 16))
    losses = []
    for model in (ours, theirs):
        torch.manual_seed(7)
        loss = loss_of(model, batch)
        loss.backward()
        losses.append(loss.detach())
    rtol = 1e-4 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(losses[0], losses[1], rtol=rtol, atol=1e-5)
    assert_equal_gradients(flat, theirs, rtol, atol=1e-6 if dtype == torch.float32 else 1e-2)
    head = [(n, p.grad) for n, p in ours.named_parameters() if "modules_to_save" in n]
    for name, grad in head:
        torch.testing.assert_close(grad, dict(theirs.named_parameters())[name].grad, rtol=rtol, atol=1e-2)


class Chain(nn.Module):
    """Matrices one after the other, so that gradients pass through them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(64, 64), nn.Linear(64, 128), nn.Linear(128, 64)

    def forward(self, x, checkpointed: bool = False):
        x = torch.tanh(self.first(x))
        inner = lambda y: self.third(torch.tanh(self.second(y)))  # noqa: E731
        return checkpoint(inner, x, use_reentrant=False) if checkpointed else inner(x)


CHAIN = [
    AdapterSite("first", 64, 64, "m", 0),
    AdapterSite("second", 64, 128, "m", 1),
    AdapterSite("third", 128, 64, "m", 2),
]


def chain(svd: bool, storage: str = "fp32", turned: bool = False):
    """turned: of GPT-2's layers, which store their weight as [in, out]."""
    torch.manual_seed(0)
    model: nn.Module = Chain()
    for name in ("first", "second", "third") if turned else ():
        old = getattr(model, name)
        setattr(model, name, Conv1D(old.out_features, old.in_features))
        getattr(model, name).weight.data = old.weight.data.t().contiguous()
        getattr(model, name).bias.data = old.bias.data
    if storage == "nf4":
        import bitsandbytes as bnb

        for name in ("first", "second", "third"):
            old = getattr(model, name)
            new = bnb.nn.Linear4bit(old.in_features, old.out_features, compute_dtype=torch.float32, quant_type="nf4")
            new.load_state_dict(old.state_dict())
            setattr(model, name, new.to("cpu"))
        model.is_loaded_in_4bit = True
    common = {"target_modules": ["first", "second", "third"], "lora_alpha": 8, "init_lora_weights": False}
    common["fan_in_fan_out"] = turned
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = AdaLoraConfig(init_r=3, total_step=9, **common) if svd else LoraConfig(r=3, **common)
        adapted = get_peft_model(model, config)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.mul_(0.3)
    return adapted


@pytest.mark.parametrize("svd", [False, True], ids=["lora", "adalora"])
@pytest.mark.parametrize("storage", ["fp32", "nf4"])
@pytest.mark.parametrize("checkpointed", [False, True], ids=["plain", "checkpointed"])
def test_gradients_pass_through(svd, storage, checkpointed):
    if storage == "nf4":
        pytest.importorskip("bitsandbytes")
    ours, theirs = chain(svd, storage), chain(svd, storage)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)
    flat = FlatParameters(ours, CHAIN)
    x = torch.randn(2, 5, 64)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    outputs = [m(i, checkpointed=checkpointed) for m, i in zip((ours, theirs), inputs, strict=True)]
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-4, atol=1e-5)
    for output in outputs:
        output.square().mean().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, rtol=1e-3, atol=1e-6)
    assert_equal_gradients(flat, theirs, rtol=1e-3, atol=1e-6)


def test_a_layer_that_is_used_twice_adds_up():
    ours, theirs = chain(True), chain(True)
    flat = FlatParameters(ours, CHAIN)
    x = torch.randn(6, 64)
    for model in (ours, theirs):
        (model(x) + model(2 * x)).square().mean().backward()
    assert_equal_gradients(flat, theirs, rtol=1e-3, atol=1e-6)


def test_a_disabled_adapter_gives_the_base():
    model = chain(True)
    x = torch.randn(2, 64)
    with model.disable_adapter():
        want = model(x)
    FlatParameters(model, CHAIN)
    with model.disable_adapter():
        assert torch.equal(model(x), want)
    assert not torch.allclose(model(x), want)


def test_removing_every_rank_of_a_matrix_leaves_the_base():
    model = chain(True)
    flat = FlatParameters(model, CHAIN)
    flat.rebuild(((), (), ()))
    x = torch.randn(2, 64)
    with model.disable_adapter():
        want = model(x)
    torch.testing.assert_close(model(x), want)
    assert flat.elements == 0


@pytest.mark.parametrize("svd", [False, True], ids=["lora", "adalora"])
def test_plain_peft_saves_and_loads_it(tmp_path, svd):
    model = chain(svd)
    FlatParameters(model, CHAIN)
    x = torch.randn(2, 64)
    model.save_pretrained(tmp_path)
    torch.manual_seed(0)
    loaded = PeftModel.from_pretrained(Chain(), tmp_path)
    torch.testing.assert_close(loaded(x), model(x), rtol=1e-4, atol=1e-5)


def test_a_copy_shares_nothing():
    model = chain(True)
    FlatParameters(model, CHAIN)
    x = torch.randn(2, 64)
    want = model(x)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.get_base_model().first.fused_site.b.zero_()
    torch.testing.assert_close(other(x), want)


def test_what_is_not_supported_is_refused():
    model = get_peft_model(Chain(), LoraConfig(r=2, target_modules=["first"], use_dora=True))
    with pytest.raises(BenchError, match="not supported"):
        FlatParameters(model, CHAIN[:1])
    with pytest.raises(BenchError, match="no adapter layer"):
        FlatParameters(chain(True).get_base_model().first, [AdapterSite("base_layer", 64, 64, "m", 0)])


class LargeProducts(TorchDispatchMode):
    """Collects the types in which matrices are multiplied that are larger than an adapter's."""

    def __init__(self) -> None:
        super().__init__()
        self.types: list[torch.dtype] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func._overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm):
            first, second = args[-2:]
            if min(*first.shape, *second.shape) >= 16:
                self.types += [first.dtype, second.dtype]
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("svd", [False, True], ids=["lora", "adalora"])
@pytest.mark.parametrize("turned", [False, True], ids=["linear", "conv1d"])
@pytest.mark.parametrize("checkpointed", [False, True], ids=["plain", "checkpointed"])
def test_under_autocast_they_are_pefts_and_nearer_to_float32(svd, turned, checkpointed):
    models = [chain(svd, turned=turned) for _ in range(3)]
    ours, exact = models[0], models[-1]
    flat = FlatParameters(ours, CHAIN)
    x = torch.randn(16, 64)
    inputs, outputs = [x.clone().requires_grad_() for _ in models], []
    kept: list[torch.Tensor] = []
    for model, given in zip(models, inputs, strict=True):
        packed = torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t)
        watched = packed if model is ours and not checkpointed else nullcontext()
        with LargeProducts() as large:
            with watched, torch.autocast("cpu", torch.bfloat16, enabled=model is not exact):
                outputs.append(model(given, checkpointed=checkpointed))
            outputs[-1].float().square().mean().backward()
        assert set(large.types) == {torch.float32 if model is exact else torch.bfloat16}  # in both passes
    found = [(o.float(), i.grad, g) for o, i, g in zip(outputs, inputs, gradients_of(models, flat), strict=True)]
    for one, other, right in zip(*found, strict=True):
        assert 0 < (one - right).norm() <= 1.05 * (other - right).norm()
        assert (one - other).norm() < 0.03 * right.norm()
    # Autograd would keep a bfloat16 copy of each matrix until the backward pass.
    assert not [t for t in kept if t.dtype == torch.bfloat16 and t.shape in {(64, 64), (64, 128), (128, 64)}]
    assert all(p.dtype == torch.float32 for p in ours.parameters())


def gradients_of(models, flat):
    """Of each model's adapters as one vector; those of the first model are in `flat`."""
    ours = flat_gradients(flat)
    of_others = [gradients(model) for model in models[1:]]
    keys = {name: next(k for k in of_others[0] if f"{name}.default" in k) for name in ours}
    found = [ours.values(), *([of[key] for key in keys.values()] for of in of_others)]
    return [torch.cat([grad.flatten() for grad in grads]) for grads in found]
