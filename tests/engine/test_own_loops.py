"""What loops of one's own do around a step: autocast, odd losses, scalers, models that can't be trained as they are."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AdaLoraConfig, LoraConfig, PeftModel, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from bench.engine.options import AllocatorOptions, StepOptions
from bench.engine.peft_model import core_for, record_ranks
from bench.engine.step import Core
from bench.engine.trainer import AdapterOptimizer
from bench.errors import BenchError

WORDS = (torch.arange(36) * 7 % 53 + 3).view(4, 9)  # token numbers [texts, positions]
BATCH = {"input_ids": WORDS, "labels": WORDS}


def llama() -> Any:
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    return LlamaForCausalLM(LlamaConfig(vocab_size=60, max_position_embeddings=16, pad_token_id=2, **shape))


def adapted(adapter: str = "lora", **changes: Any) -> Any:
    common = {"target_modules": ["q_proj", "down_proj"], "task_type": "CAUSAL_LM", **changes}
    if adapter == "lora":
        return get_peft_model(llama(), LoraConfig(r=4, **common)).train()
    schedule = {"init_r": 4, "target_r": 2, "tinit": 1, "tfinal": 1, "deltaT": 1, "total_step": 5}
    return get_peft_model(llama(), AdaLoraConfig(orth_reg_weight=0.5, **schedule, **common)).train()


def autocast(on: bool) -> Any:
    return torch.autocast("cpu", torch.bfloat16) if on else nullcontext()


@pytest.mark.parametrize("adapter", ["lora", "adalora"])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_backward_and_step_under_autocast_are_those_outside_of_it(adapter: str, dropout: float) -> None:
    cores: list[Core] = []
    for inside in (False, True):
        model = adapted(adapter, lora_dropout=dropout)
        core = core_for(model, learning_rate=1e-2)
        torch.manual_seed(1)
        for _ in range(4):
            with autocast(on=True):
                loss = model(**BATCH).loss
            with autocast(on=inside):
                core.accumulate(loss)
                core.step()
        cores.append(core)
    # The matrices of the base multiply in bfloat16 either way; what autograd does by itself is not the engine's.
    torch.testing.assert_close(cores[0].flat.data, cores[1].flat.data, rtol=0, atol=0)
    assert cores[0].masks() == cores[1].masks()


def test_a_loss_of_one_number_has_any_shape_and_no_other_is_taken() -> None:
    parameters = []
    for shape in ((), (1,)):
        model = adapted()
        core = core_for(model, learning_rate=1e-2)
        core.accumulate(model(**BATCH).loss.reshape(shape))
        assert core.step().loss.shape == ()
        parameters.append(core.flat.data)
    assert torch.equal(*parameters)
    with pytest.raises(BenchError, match=r"expected one loss, found \[2\] of them: take their mean"):
        core.accumulate(model(**BATCH).loss.expand(2))


@pytest.mark.parametrize("unscale", [False, True])
@pytest.mark.parametrize("heads", [None, ["lm_head"]])
def test_gradient_scalers_are_refused(unscale: bool, heads: list[str] | None) -> None:
    """They would divide the heads' gradient and not the adapter's, which is in no parameter."""
    model = adapted(modules_to_save=heads)
    optimizer, scaler = AdapterOptimizer(model), torch.amp.GradScaler("cpu")
    scaler.scale(model(**BATCH).loss).backward()
    if unscale:
        scaler.unscale_(optimizer)
    with pytest.raises(BenchError, match="a gradient scaler is not supported"):
        scaler.step(optimizer)


def test_options_that_would_train_something_else_are_refused() -> None:
    for limit in (0, 0.0, -1.0, float("nan")):
        with pytest.raises(BenchError, match="expected more than 0, or None for no clipping"):
            core_for(adapted(), max_grad_norm=limit)
    with pytest.raises(BenchError, match="micro_batches is 0"):
        StepOptions(micro_batches=0)
    with pytest.raises(BenchError, match=r"unknown unit 'parameter' \(did you mean 'parameters'\?\)"):
        AllocatorOptions(unit="parameter")  # type: ignore[arg-type]
    for total, message in ((0, "greater than 0, found 0"), (-1, "found -1"), (2.5, r"a whole number, found 2\.5")):
        with pytest.raises(BenchError, match=message):
            core_for(adapted(), total_steps=total)


def test_a_frozen_adapter_is_refused(tmp_path: Path) -> None:
    adapted(modules_to_save=["lm_head"]).save_pretrained(tmp_path)
    with pytest.raises(BenchError, match="load it with is_trainable=True"):
        core_for(PeftModel.from_pretrained(llama(), tmp_path))
    core = core_for(PeftModel.from_pretrained(llama(), tmp_path, is_trainable=True))
    assert core.flat.head_names == ["base_model.model.lm_head.modules_to_save.default.weight"]


def test_a_model_on_several_devices_is_refused() -> None:
    model = adapted()
    model.get_base_model().model.layers[1].to("meta")
    with pytest.raises(BenchError, match="is on meta, the model on cpu"):
        core_for(model)


def test_another_default_type_is_refused() -> None:
    model = adapted()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with pytest.raises(BenchError, match=r"torch's default type is torch\.bfloat16"):
            core_for(model)
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_rank_without_effect_is_saved_where_others_have_left(tmp_path: Path) -> None:
    """Its singular value is 0 where its last steps were skipped, or its matrix got no gradient."""
    model = adapted("adalora")
    core = core_for(model, learning_rate=1e-2, compact=True)
    for _ in range(5):
        core.accumulate(model(**BATCH).loss)
        core.step()
    ranks = core.live_ranks()
    site = next(index for index, rank in enumerate(ranks.values()) if 0 < rank < 4)
    with torch.no_grad():
        core.flat.factors(core.flat.data)[site][2][0] = 0
    core.flat.fold()
    record_ranks(model, core)
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(llama(), tmp_path)
    layers = [loaded.get_base_model().get_submodule(name) for name in ranks]
    assert [len(layer.lora_E["default"]) for layer in layers] == list(ranks.values())
    with torch.no_grad():
        torch.testing.assert_close(loaded.eval()(WORDS).logits, model.eval()(WORDS).logits)
