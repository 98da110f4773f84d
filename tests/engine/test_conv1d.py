"""GPT-2's layers, which store their weight as [in, out], are trained and saved as PEFT does it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from peft import AdaLoraConfig, LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from bench.engine.peft_model import core_for, record_ranks
from bench.models.export import export_lora

LAYERS = ["c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]
IDS = torch.randint(60, (3, 7), generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def _no_warning() -> Iterator[None]:
    """PEFT warns where `fan_in_fan_out` is not what the layers are."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*fan_in_fan_out.*")
        yield


def gpt2() -> Any:
    torch.manual_seed(0)
    dropouts = {"attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0}
    return GPT2LMHeadModel(GPT2Config(n_layer=2, n_head=2, n_embd=16, vocab_size=60, n_positions=16, **dropouts))


def adapted(*, svd: bool) -> Any:
    """GPT-2 with an adapter that does not start at zero, so that no gradient is zero."""
    common = {"target_modules": LAYERS, "lora_alpha": 8, "init_lora_weights": False, "fan_in_fan_out": True}
    if svd:
        config = AdaLoraConfig(init_r=4, target_r=2, total_step=9, tinit=1, tfinal=4, orth_reg_weight=0.0, **common)
    else:
        config = LoraConfig(r=4, **common)
    model = get_peft_model(gpt2(), config)
    if not svd:
        return model
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "ranknum" in name:
                parameter.requires_grad_(False)
            elif "lora_" in name:
                parameter.mul_(0.3)
    return model


def loss_of(model: Any) -> Tensor:
    # The model inside: PEFT's AdaLoRA adds its regularizer to the loss of the wrapper.
    loss: Tensor = model.get_base_model()(input_ids=IDS, labels=IDS).loss
    return loss


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = model.eval()(input_ids=IDS).logits
    return found


@pytest.mark.parametrize("svd", [False, True], ids=["lora", "adalora"])
def test_a_step_is_that_of_pefts_own_layers(svd: bool) -> None:
    ours, theirs = adapted(svd=svd), adapted(svd=svd)
    core = core_for(ours, learning_rate=1e-2, max_grad_norm=None)
    trained = {name: p for name, p in theirs.named_parameters() if p.requires_grad}
    want, found = loss_of(theirs), loss_of(ours)
    torch.testing.assert_close(found, want, rtol=1e-5, atol=1e-6)
    want.backward()
    core.accumulate(found)
    if svd:
        folded = core.flat.grad.clone()
        core.flat.unfold_gradients()
    for site, gradients in zip(core.flat.layout.sites, core.flat.factors(core.flat.grad), strict=True):
        for factor, gradient in zip(("A", "B", "E"), gradients, strict=False):
            name = f"base_model.model.{site.name}.lora_{factor}.default"
            expected = trained[name if svd else f"{name}.weight"].grad
            torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)
    if svd:
        core.flat.grad.copy_(folded)  # a step unfolds them itself
    core.step(1e-2)
    torch.optim.AdamW(trained.values(), lr=1e-2, weight_decay=0.0).step()
    after = dict(ours.named_parameters())
    # Adam's first step is the sign of the gradient times the rate, also where the gradient is rounding alone.
    for name, parameter in trained.items():
        known = parameter.grad.abs() > 1e-6
        assert known.float().mean() > 0.5
        torch.testing.assert_close(after[name][known], parameter.detach()[known], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("svd", [False, True], ids=["lora", "adalora"])
def test_what_was_trained_is_loaded_merged_and_exported_by_peft(tmp_path, svd: bool) -> None:
    model = adapted(svd=svd)
    core = core_for(model, learning_rate=1e-2)
    for _ in range(9):
        core.accumulate(loss_of(model.train()))
        core.step()
    expected = logits(model)
    assert not torch.allclose(expected, logits(gpt2()), atol=1e-2)
    record_ranks(model, core)
    model.save_pretrained(tmp_path / "saved", save_embedding_layers=False)
    folders = [tmp_path / "saved"]
    if svd:
        export_lora(tmp_path / "saved", tmp_path / "exported")
        folders.append(tmp_path / "exported")
    for folder in folders:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*rank_pattern keys did not match")
            loaded = PeftModel.from_pretrained(gpt2(), folder)
        torch.testing.assert_close(logits(loaded), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(logits(loaded.merge_and_unload()), expected, rtol=1e-4, atol=1e-5)
