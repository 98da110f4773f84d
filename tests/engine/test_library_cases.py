"""What PEFT users do with a model besides training it: merging, copying, generating, several adapters, resuming."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AdaLoraConfig, LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    LlamaConfig,
    LlamaForCausalLM,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from bench.engine.peft_model import core_for, record_ranks
from bench.engine.step import Core
from bench.engine.trainer import AdapterCallback, AdapterOptimizer
from bench.errors import BenchError

WORDS = (torch.arange(36) * 7 % 53 + 3).view(4, 9)  # token numbers [texts, positions]
BATCH = {"input_ids": WORDS, "labels": WORDS}
STEPS = 12
BETWEEN_MASKS = 6  # optimizer steps: masks are taken after steps 4 and 8
MATRICES = ["q_proj", "v_proj", "down_proj"]
SMALL = {"vocab_size": 60, "max_position_embeddings": 16, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}


def llama() -> Any:
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    return LlamaForCausalLM(LlamaConfig(**SMALL, **shape, tie_word_embeddings=True))


def adalora(**changes: Any) -> AdaLoraConfig:
    schedule = {"init_r": 4, "target_r": 2, "tinit": 1, "tfinal": 2, "deltaT": 4, "total_step": STEPS}
    return AdaLoraConfig(**{"target_modules": MATRICES, "task_type": "CAUSAL_LM", **schedule, **changes})


def lora(**changes: Any) -> LoraConfig:
    return LoraConfig(**{"r": 4, "target_modules": MATRICES, "task_type": "CAUSAL_LM", **changes})


def train(model: Any, core: Core, steps: int) -> None:
    model.train()
    for _ in range(steps):
        core.accumulate(model(**BATCH).loss)
        core.step()


def between_masks() -> tuple[Any, Core]:
    """A model where pruned ranks have grown back, but are over the budget of the step."""
    model = get_peft_model(llama(), adalora())
    core = core_for(model, learning_rate=5e-2)
    train(model, core, BETWEEN_MASKS)
    assert core.flat.singular[~core.budget_mask()].abs().max() > 1e-3
    return model, core


@torch.no_grad()
def logits(model: Any) -> Tensor:
    model.eval()
    return model(input_ids=WORDS).logits


def test_merging_leaves_out_ranks_without_budget():
    model, core = between_masks()
    expected = logits(model)
    before = core.flat.data.clone()
    model.merge_adapter()
    torch.testing.assert_close(logits(model), expected, rtol=1e-4, atol=1e-5)
    model.unmerge_adapter()
    assert torch.equal(core.flat.data, before)
    torch.testing.assert_close(logits(model.merge_and_unload()), expected, rtol=1e-4, atol=1e-5)


def test_generation_obeys_the_budget():
    model, _ = between_masks()
    model.eval()
    text = WORDS[:1, :3]
    options = {"max_new_tokens": 1, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    generated = model.generate(input_ids=text, **options)
    with torch.no_grad():
        torch.testing.assert_close(generated.logits[0], model(input_ids=text).logits[:, -1])


def test_training_in_evaluation_mode_is_refused():
    model, core = between_masks()
    model.eval()
    with pytest.raises(BenchError, match=r"no training inside budget_view or model\.eval"):
        core.accumulate(model(**BATCH).loss)

    model = get_peft_model(llama(), adalora(tinit=0))
    optimizer = AdapterOptimizer(model)
    for _ in range(4):  # the first mask is taken after the fourth step
        model(**BATCH).loss.backward()
        optimizer.step()
    model.eval()
    model(**BATCH).loss.backward()
    with pytest.raises(BenchError, match=r"call model\.train"):
        optimizer.step()


def test_a_copy_gives_the_same_outputs_and_follows_its_own_parameters():
    model, _ = between_masks()
    average = copy.deepcopy(model)
    assert torch.equal(logits(average), logits(model))
    assert_equal(average.state_dict(), model.state_dict())

    fresh = copy.deepcopy(model)  # changed before its first use, as an average of parameters is
    for changed in (average, fresh):
        with torch.no_grad():
            with changed.disable_adapter():
                expected = changed(input_ids=WORDS).logits
            for name, parameter in changed.named_parameters():
                if "lora_B" in name:
                    parameter.zero_()
        torch.testing.assert_close(logits(changed), expected)


def test_a_model_can_be_pickled(tmp_path):
    model, _ = between_masks()
    torch.save(model, tmp_path / "model.pt")
    assert torch.equal(logits(torch.load(tmp_path / "model.pt", weights_only=False)), logits(model))


def test_loaded_values_are_seen_by_the_next_forward():
    model, core = between_masks()
    values = {name: value * 1.5 if "lora_E" in name else value for name, value in model.state_dict().items()}
    model.load_state_dict(values)
    model.train()
    with torch.no_grad():
        seen = model(input_ids=WORDS).logits
        core.flat.fold()
        assert torch.equal(model(input_ids=WORDS).logits, seen)


def test_a_second_core_takes_over_from_the_first():
    model, _ = between_masks()
    second = core_for(model)
    saved = torch.cat([value for name, value in model.state_dict().items() if "lora_E" in name])
    assert int((saved != 0).sum()) == int((second.flat.singular != 0).sum())
    own = copy.deepcopy(model)
    third = core_for(own)
    for core, one in ((second, model), (third, own)):
        train(one, core, 2)
        core.flat.check_views()
    assert_equal(own.state_dict(), model.state_dict())


def test_a_saved_adapter_trains_on_and_is_saved_again(tmp_path):
    model = get_peft_model(llama(), adalora())
    core = core_for(model, learning_rate=5e-2)
    train(model, core, STEPS)
    record_ranks(model, core)
    model.save_pretrained(tmp_path / "first")

    again = PeftModel.from_pretrained(llama(), tmp_path / "first", is_trainable=True)
    torch.testing.assert_close(logits(again), logits(model))
    core = core_for(again, learning_rate=5e-2)
    train(again, core, 3)
    for folder in (tmp_path / "second", tmp_path / "third"):
        record_ranks(again, core)
        again.save_pretrained(folder)
        torch.testing.assert_close(logits(PeftModel.from_pretrained(llama(), folder)), logits(again))


def test_only_the_active_adapter_acts():
    model = get_peft_model(llama(), lora(init_lora_weights=False))
    model.add_adapter("other", lora(r=2, init_lora_weights=False))
    expected = {}
    for name in ("default", "other"):
        model.set_adapter(name)
        expected[name] = logits(model)
    rows = ["default", "other"] * 2
    with torch.no_grad():
        mixed = model(input_ids=WORDS, adapter_names=rows).logits
    core_for(model)
    for name in expected:
        model.set_adapter(name)
        torch.testing.assert_close(logits(model), expected[name])
    with torch.no_grad():
        torch.testing.assert_close(model(input_ids=WORDS, adapter_names=rows).logits, mixed)


def test_two_active_adapters_are_not_trained_by_halves():
    model = get_peft_model(llama(), lora())
    model.add_adapter("other", lora(r=2))
    core = core_for(model)
    model.base_model.set_adapter(["default", "other"])
    core.accumulate(model(**BATCH).loss)
    with pytest.raises(BenchError, match="let it be the only active adapter"):
        core.step()


def test_patterns_of_rank_and_alpha_and_rslora_give_pefts_outputs():
    patterns = {"rank_pattern": {"v_proj": 2}, "alpha_pattern": {"q_proj": 32}, "use_rslora": True}
    model = get_peft_model(llama(), lora(init_lora_weights=False, **patterns))
    expected = logits(model)
    core_for(model)
    torch.testing.assert_close(logits(model), expected)


def test_layers_that_it_cannot_compute_are_refused():
    image = get_peft_model(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1)), LoraConfig(r=2, target_modules=["0"]))
    with pytest.raises(BenchError, match="an adapter on Conv2d is not supported"):
        core_for(image)
    with pytest.raises(BenchError, match="LoRA variants"):
        core_for(get_peft_model(llama(), lora(use_dora=True)))
    with pytest.raises(BenchError, match="what is trained must be float32"):
        core_for(get_peft_model(llama().to(torch.bfloat16), adalora(modules_to_save=["norm"])))


def test_encoder_and_decoder_train_and_generate():
    torch.manual_seed(0)
    layers = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    sizes = {"d_model": 16, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "decoder_start_token_id": 1}
    base = BartForConditionalGeneration(BartConfig(**SMALL, **layers, **sizes, forced_eos_token_id=None))
    model = get_peft_model(base, adalora(target_modules=["q_proj", "fc1"], task_type="SEQ_2_SEQ_LM"))
    core = core_for(model)
    train(model, core, STEPS)
    assert sum(core.live_ranks().values()) == 2 * len(core.flat.layout.sites)
    model.eval()
    assert model.generate(input_ids=WORDS, max_new_tokens=3).shape[0] == 4


class StopAt(TrainerCallback):
    step = 3

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        control.should_training_stop = state.global_step >= self.step


def trainer_of(folder: Path, **changes: Any) -> Any:
    model = get_peft_model(llama(), adalora(lora_dropout=0.1))
    optimizer = AdapterOptimizer(model, lr=5e-2)
    values = {"save_strategy": "no", "max_grad_norm": 0.0, "report_to": [], "use_cpu": True, "disable_tqdm": True}
    values |= {"max_steps": STEPS, "per_device_train_batch_size": 2, "logging_steps": 1, **changes}
    rows = [{"input_ids": row, "labels": row} for row in WORDS.repeat(6, 1)]
    return Trainer(
        model,
        TrainingArguments(str(folder), **values),
        train_dataset=rows,
        optimizers=(optimizer, None),
        callbacks=[AdapterCallback(optimizer)],
    )


def assert_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert [name for name in one | other if not torch.equal(one[name], other[name])] == []


def test_the_same_trainer_is_stopped_and_resumed(tmp_path):
    whole = trainer_of(tmp_path / "whole")
    whole.train()
    parts = trainer_of(tmp_path / "parts", save_strategy="steps", save_steps=1)
    stop = StopAt()
    parts.add_callback(stop)
    parts.train()
    for stop.step in (BETWEEN_MASKS, 11, STEPS):  # between masks, after the freeze, the end
        parts.train(resume_from_checkpoint=True)
    assert_equal(parts.model.state_dict(), whole.model.state_dict())


def test_a_trainer_that_begins_elsewhere_than_its_optimizer_is_refused(tmp_path):
    first = trainer_of(tmp_path, save_strategy="steps", save_steps=4, save_only_model=True)
    first.train()
    with pytest.raises(BenchError, match="has made 12 steps, but Trainer begins after step 0"):
        first.train()
    with pytest.raises(BenchError, match=r"has made 0 steps, but Trainer begins after step 4: .*optimizer\.pt"):
        trainer_of(tmp_path).train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))


@pytest.mark.parametrize("reentrant", [True, False])
def test_activation_checkpointing_changes_no_bit(tmp_path, reentrant):
    whole = trainer_of(tmp_path)
    whole.train()
    options = {"use_reentrant": reentrant}
    checkpointed = trainer_of(tmp_path, activation_checkpointing=True, activation_checkpointing_kwargs=options)
    checkpointed.train()
    assert_equal(checkpointed.model.state_dict(), whole.model.state_dict())


def test_the_regularizer_acts_beside_a_loss_of_trainers_own(tmp_path):
    trainer = trainer_of(tmp_path, label_smoothing_factor=0.1)
    trainer.train()
    values = [log["regularizer"] for log in trainer.state.log_history if "regularizer" in log]
    assert values[-1] < values[0]
