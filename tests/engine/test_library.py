"""The engine as a library: on any PEFT model in a loop of one's own, and under transformers' Trainer on MiniLM."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.trainer_runs import (
    ACCUMULATION,
    MINILM,
    ROWS,
    STEPS,
    StopAt,
    adalora,
    arguments,
    assert_equal,
    bare,
    collator,
    model_of,
    parameters,
    remember_batches,
    trainer_of,
    without_labels,
)
from peft import IA3Config, LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoTokenizer,
    Trainer,
)

from bench.engine.peft_model import core_for, record_ranks
from bench.errors import BenchError
from bench.inputs import synthetic


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    tokenizer = AutoTokenizer.from_pretrained(MINILM)
    drawn = synthetic.rows("acceptability", "train")
    texts = [text for (text,) in drawn.texts[: STEPS * ACCUMULATION * ROWS]]
    labels = drawn.targets[: len(texts)]
    return [{**tokenizer(text), "labels": label} for text, label in zip(texts, labels, strict=True)]


def test_trainer_takes_the_masks_of_a_loop_of_ones_own_at_every_step(rows, tmp_path):
    model = model_of(adalora())
    trainer = trainer_of(copy.deepcopy(model), rows, arguments(tmp_path))
    seen = remember_batches(trainer)
    trainer.train()

    core = core_for(model, micro_batches=ACCUMULATION)
    model.train()
    masks = []
    for step in range(STEPS):
        for batch in seen[step * ACCUMULATION : (step + 1) * ACCUMULATION]:
            core.accumulate(model(**batch).loss)
        core.step(learning_rate=2e-3)
        masks.append(core.masks())
    assert masks == trainer.watched.masks
    assert trainer.watched.live[:2] == [16, 16]
    assert trainer.watched.live[-5:] == [8] * 5
    for name, value in parameters(model).items():
        torch.testing.assert_close(value, parameters(trainer.model)[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("stop", [2, 6, 10], ids=["before pruning", "while pruning", "after the freeze"])
def test_an_interrupted_trainer_goes_on_to_the_same_bits(rows, tmp_path, stop):
    whole = trainer_of(model_of(adalora(), dropout=0.1), rows, arguments(tmp_path / "whole"))
    whole.train()

    saving = arguments(tmp_path / "part", save_strategy="steps", save_steps=stop)
    first = trainer_of(model_of(adalora(), dropout=0.1), rows, saving)
    first.add_callback(StopAt(stop))
    first.train()
    second = trainer_of(model_of(adalora(), dropout=0.1, seed=9), rows, saving)
    second.train(resume_from_checkpoint=str(tmp_path / "part" / f"checkpoint-{stop}"))
    assert_equal(parameters(second.model), parameters(whole.model))
    assert first.watched.masks + second.watched.masks == whole.watched.masks


def test_what_trainer_saves_loads_with_plain_peft_and_obeys_the_budget(rows, tmp_path):
    trainer = trainer_of(model_of(adalora()), rows, arguments(tmp_path, save_strategy="steps", save_steps=4))
    trainer.train()
    trainer.save_model(tmp_path / "saved")
    batch = without_labels(rows[:8])
    trainer.model.eval()
    with torch.no_grad():
        wanted = trainer.model(**batch).logits
    for folder, ranks in ((tmp_path / "saved", 8), (tmp_path / "checkpoint-4", trainer.watched.live[3])):
        loaded = PeftModel.from_pretrained(bare(), folder).eval()
        values = [p for name, p in loaded.named_parameters() if "lora_E" in name]
        assert sum(int((value != 0).sum()) for value in values) == ranks
        if folder.name == "saved":
            assert sum(value.numel() for value in values) == ranks  # pruned ranks are not in the file
            with torch.no_grad():
                torch.testing.assert_close(loaded(**batch).logits, wanted, rtol=1e-4, atol=1e-5)


def test_the_best_checkpoint_is_saved_as_it_was(rows, tmp_path):
    args = arguments(
        tmp_path,
        save_strategy="steps",
        eval_strategy="steps",
        save_steps=4,
        eval_steps=4,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=True,  # so that the best is not the last
        logging_steps=4,
    )
    trainer = trainer_of(model_of(adalora()), rows, args)
    trainer.train()
    best = Path(trainer.state.best_model_checkpoint)
    scores = {log["step"]: log["eval_loss"] for log in trainer.state.log_history if "eval_loss" in log}
    assert best.name == "checkpoint-4"
    assert trainer.evaluate()["eval_loss"] == pytest.approx(scores[4], rel=1e-5)
    trainer.save_model(tmp_path / "saved")
    loaded = PeftModel.from_pretrained(bare(), tmp_path / "saved").eval()
    with torch.no_grad():
        logits = loaded(**without_labels(rows[:16])).logits
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor([row["labels"] for row in rows[:16]]))
    assert loss.item() == pytest.approx(scores[4], rel=1e-5)


def test_a_lora_adapter_trains_as_with_torchs_adamw(rows, tmp_path):
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["query", "value"], task_type="SEQ_CLS")
    model = model_of(config)
    trainer = trainer_of(copy.deepcopy(model), rows, arguments(tmp_path), max_grad_norm=1.0)
    trainer.train()
    plain = Trainer(
        model,
        arguments(tmp_path, max_grad_norm=1.0),
        data_collator=collator(),
        train_dataset=rows,
        optimizers=(torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 2e-3, weight_decay=0), None),
    )
    plain.train()
    for name, value in parameters(model).items():
        torch.testing.assert_close(value, parameters(trainer.model)[name], rtol=2e-3, atol=2e-5)
    mine, theirs = (
        [log["grad_norm"] for log in each.state.log_history if "grad_norm" in log] for each in (trainer, plain)
    )
    assert mine == pytest.approx(theirs, rel=1e-3)


def test_between_two_masks_the_model_is_evaluated_and_saved_within_its_budget(rows):
    model = model_of(adalora(deltaT=4))
    core = core_for(model, learning_rate=5e-3)
    batch = collator()(rows[:8])
    model.train()
    for _ in range(6):  # pruned after step 4; step 6 lets ranks grow back
        core.accumulate(model(**batch).loss)
        core.step()
    training = int((core.flat.singular != 0).sum())
    saved = {name: value for name, value in model.state_dict().items() if name.endswith("lora_E.default")}
    live = sum(core.live_ranks().values())
    assert sum(int((value != 0).sum()) for value in saved.values()) == live < training
    model.eval()
    with torch.no_grad():
        shown = model(**batch).logits
        with core.budget_view():
            torch.testing.assert_close(model(**batch).logits, shown, rtol=0, atol=0)
    model.train()
    with torch.no_grad():
        assert not torch.equal(model(**batch).logits, shown)


def test_removed_ranks_are_saved_and_loaded(rows, tmp_path):
    model = model_of(adalora())
    core = core_for(model, learning_rate=5e-3, compact=True)
    batch = collator()(rows[:8])
    model.train()
    for _ in range(STEPS):
        core.accumulate(model(**batch).loss)
        core.step()
    assert core.flat.layout.triplets == 8
    record_ranks(model, core)
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(bare(), tmp_path).eval()
    model.eval()
    batch.pop("labels")
    with torch.no_grad():
        torch.testing.assert_close(loaded(**batch).logits, model(**batch).logits, rtol=1e-4, atol=1e-5)


def test_bfloat16_under_autocast_trains(rows, tmp_path):
    trainer = trainer_of(model_of(adalora()), rows, arguments(tmp_path, bf16=True))
    trainer.train()
    losses = [log["loss"] for log in trainer.state.log_history if "loss" in log]
    assert len(losses) == STEPS
    assert all(loss == loss and loss < 2 for loss in losses)  # not NaN
    assert trainer.watched.live[-1] == 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_grad_norm": 1.0}, "give max_grad_norm to AdapterOptimizer"),
        ({"max_steps": 20}, "set total_step=20"),
    ],
)
def test_arguments_that_contradict_the_schedule_are_refused(rows, tmp_path, changes, message):
    with pytest.raises(BenchError, match=message):
        trainer_of(model_of(adalora()), rows, arguments(tmp_path, **changes)).train()


def test_several_gpus_are_refused(rows, tmp_path):
    several = arguments(tmp_path)
    several._n_gpu = 2  # what Trainer finds where a process sees two
    with pytest.raises(BenchError, match="2 GPUs under Trainer are not supported"):
        trainer_of(model_of(adalora()), rows, several).train()


def test_models_that_it_cannot_train_are_refused():
    with pytest.raises(BenchError, match="expected a PeftModel"):
        core_for(bare())
    with pytest.raises(BenchError, match="no adapter 'other'"):
        core_for(model_of(adalora()), adapter="other")
    with pytest.raises(BenchError, match="found IA3"):
        core_for(model_of(IA3Config(target_modules=["query"], feedforward_modules=[], task_type="SEQ_CLS")))
    with pytest.raises(BenchError, match="target budget 24 is larger than initial budget 16"):
        core_for(model_of(adalora(target_r=6)))


def test_an_adapter_may_have_any_name(rows):
    torch.manual_seed(0)
    model = get_peft_model(bare(), adalora(), adapter_name="layer")
    core = core_for(model, learning_rate=5e-3, adapter="layer")
    batch = collator()(rows[:8])
    for _ in range(STEPS):
        core.accumulate(model(**batch).loss)
        core.step()
    assert sum(core.live_ranks().values()) == 8
