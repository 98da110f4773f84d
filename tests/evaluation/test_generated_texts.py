"""Texts follow the task's file alone: what a checkpoint says of generation has no effect, and is told."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.small_cells import Lab
from helpers.splits import split_of
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    GenerationConfig,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from bench.config.generation import Generation
from bench.config.task import Task
from bench.errors import BenchError
from bench.evaluation.evaluate import Evaluated, evaluate
from bench.evaluation.generation_settings import overruled_settings, warn_once
from bench.evaluation.loss import task_loss
from bench.inputs.collate import Batch
from bench.inputs.generated import check_generated

ROWS = np.random.default_rng(0).integers(5, 60, (6, 9)).astype(np.int32)
IDS = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0, "decoder_start_token_id": 3}
# Each changes texts of a plain `generate`, or makes it fail.
HOSTILE: dict[str, Any] = {
    "max_new_tokens": 3,
    "min_new_tokens": 12,
    "max_length": 5,
    "min_length": 4,
    "num_beams": 7,
    "num_return_sequences": 2,
    "do_sample": True,
    "temperature": 3.0,
    "top_k": 2,
    "repetition_penalty": 9.0,
    "encoder_repetition_penalty": 9.0,
    "no_repeat_ngram_size": 1,
    "encoder_no_repeat_ngram_size": 1,
    "length_penalty": -8.0,
    "early_stopping": "never",
    "suppress_tokens": list(range(10, 60)),
    "begin_suppress_tokens": list(range(10, 60)),
    "bad_words_ids": [[token] for token in range(10, 50)],
    "sequence_bias": [[[7], 50.0]],
    "exponential_decay_length_penalty": [2, 5.0],
    "guidance_scale": 4.0,
    "renormalize_logits": True,
}


class Words:
    """A tokenizer that writes token 7 as w7."""

    pad_token_id, pad_token_type_id, padding_side = 0, 0, "right"

    def batch_decode(self, ids: torch.Tensor, skip_special_tokens: bool) -> list[str]:
        assert skip_special_tokens
        return [" ".join(f"w{token}" for token in row if token > 4) for row in ids.tolist()]


def model_of(family: str, **changes: Any) -> Any:
    torch.manual_seed(0)
    if family == "t5":
        sizes = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 2}
        model: Any = T5ForConditionalGeneration(T5Config(vocab_size=60, **sizes, **IDS))
    else:
        layers = {f"{side}_{what}": 1 for side in ("encoder", "decoder") for what in ("layers", "attention_heads")}
        sizes = {"d_model": 32, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 64}
        changes = {"forced_bos_token_id": 9, "forced_eos_token_id": 3, **changes}
        model = BartForConditionalGeneration(BartConfig(vocab_size=60, **sizes, **layers, **IDS))
    with torch.no_grad():
        for parameter in model.parameters():  # so that sources differ in what is said of them
            parameter.add_(0.3 * torch.randn_like(parameter))
    for name, value in changes.items():
        setattr(model.generation_config, name, value)
    return model.eval()


def task_of(**generation: Any) -> Task:
    data = {"hub": "a/b", "columns": {"text": ["t"], "target": "y"}}
    return Task.model_validate(
        {"name": "t", "kind": "summarization", "data": data, "metrics": ["rouge1"], "generation": generation}
    )


def evaluated(model: Any, task: Task, reference: str = "w5 w6") -> Evaluated:
    split = split_of(list(ROWS), [reference] * len(ROWS), [np.array([5, 6, 3], dtype=np.int32)] * len(ROWS))
    return evaluate(model, task, {"validation": split}, Words(), 4, torch.device("cpu"))


def texts(model: Any, **arguments: Any) -> list[str]:
    """What plain `generate` writes, row by row."""
    ids = [model.generate(torch.from_numpy(row).long()[None], **arguments)[0] for row in ROWS]
    return [Words().batch_decode(row[None], skip_special_tokens=True)[0] for row in ids]


@pytest.mark.parametrize("family", ["bart", "t5"])
@pytest.mark.parametrize("beams", [1, 3])
def test_a_hostile_generation_config_changes_no_text(family: str, beams: int) -> None:
    task, clean = task_of(beams=beams, max_length=14), model_of(family)
    expected = texts(clean, num_beams=beams, max_length=14, do_sample=False, early_stopping=beams > 1)
    assert len(set(expected)) > 2
    model = get_peft_model(model_of(family, **HOSTILE), LoraConfig(target_modules=r".*(q_proj|\.q)$"))
    before = model.generation_config
    found = evaluated(model, task)
    assert found.predictions["validation"] == expected
    assert model.get_base_model().generation_config is before  # as a saved checkpoint should have it


def test_every_setting_that_the_checkpoint_has_for_itself_is_told() -> None:
    task, model = task_of(beams=2, max_length=10, min_length=2), model_of("t5")
    assert overruled_settings(task, model) == {}
    for name, value in HOSTILE.items():
        assert overruled_settings(task, model_of("t5", **{name: value})) == {name: value}


@pytest.mark.parametrize(
    ("keys", "arguments"),
    [
        ({"beams": 3, "early_stopping": "never", "length_penalty": 2.0}, {"num_beams": 3, "early_stopping": "never"}),
        ({"beams": 3, "early_stopping": False, "length_penalty": 2.0}, {"num_beams": 3, "early_stopping": False}),
        ({"repetition_penalty": 1.8}, {"repetition_penalty": 1.8}),
        ({"no_repeat_ngram": 2, "min_length": 9}, {"no_repeat_ngram_size": 2, "min_length": 9}),
    ],
)
def test_every_key_of_the_file_does_what_generate_does(keys: dict[str, Any], arguments: dict[str, Any]) -> None:
    if "length_penalty" in keys:
        arguments = {**arguments, "length_penalty": keys["length_penalty"]}
    model = model_of("bart")
    expected = texts(model, max_length=14, do_sample=False, **arguments)
    assert evaluated(model, task_of(max_length=14, **keys)).predictions["validation"] == expected


def test_the_record_names_every_setting_and_the_log_what_was_overruled(caplog: pytest.LogCaptureFixture) -> None:
    warn_once.cache_clear()
    model, task = model_of("bart", no_repeat_ngram_size=3, temperature=1.0), task_of(beams=2, max_length=10)
    with caplog.at_level(logging.WARNING):
        found = evaluated(model, task).for_record
        evaluated(model, task)
    assert found == {
        "batch_size": 4,
        "halvings": 0,
        "generation": {
            "num_beams": 2,
            "max_length": 10,
            "min_length": 0,
            "length_penalty": 1.0,
            "no_repeat_ngram_size": 0,
            "repetition_penalty": 1.0,
            "early_stopping": True,
            "do_sample": False,
            "num_return_sequences": 1,
            **IDS,
            "forced_bos_token_id": 9,
            "forced_eos_token_id": 3,
        },
        "generation_overruled": {"no_repeat_ngram_size": 3},
        "rouge": {"tokenizer": "rouge-score", "dropped": {"validation": {"text": 0.0, "rows": 0.0}}},
    }
    (told,) = (record.getMessage() for record in caplog.records)
    assert "generation_config says no_repeat_ngram_size=3: not used" in told


def test_references_that_rouge_does_not_see_are_noted() -> None:
    found = evaluated(model_of("t5"), task_of(max_length=4), reference="Привет, w6")
    assert found.settings["rouge"]["dropped"] == {"validation": {"text": 7 / 9, "rows": 1.0}}
    (note,) = found.notes
    assert note.startswith("validation: ROUGE's tokenizer rouge-score keeps a to z and 0 to 9 alone: 78% of the refer")


def test_texts_start_as_training_did() -> None:
    model = model_of("t5", decoder_start_token_id=2)
    found = evaluated(model, task_of(max_length=8))
    assert found.settings["generation"]["decoder_start_token_id"] == 3
    assert found.settings["generation_overruled"] == {"decoder_start_token_id": 2}
    assert found.predictions == evaluated(model_of("t5"), task_of(max_length=8)).predictions


def test_a_model_that_names_no_start_is_refused() -> None:
    model = SimpleNamespace(config=SimpleNamespace(decoder_start_token_id=None), generation_config=GenerationConfig())
    batch = Batch({}, torch.zeros((1, 2), dtype=torch.long), 2)
    with pytest.raises(BenchError, match="names no decoder_start_token_id"):
        task_loss(model, batch, "summarization")


def test_texts_longer_than_the_model_has_positions_are_refused_when_rows_are_prepared(
    shared_summaries: Lab, tmp_path: Path
) -> None:
    """Here the backbone's file has no `config`, so only the model's own tells."""
    lab = replace(shared_summaries, cache=tmp_path)
    cell = lab.cell()
    task = cell.task.model_copy(update={"generation": Generation(max_length=66)})
    check_generated(cell.task, lab.model, Words())
    with pytest.raises(BenchError, match=r"generation\.max_length is 66, above the 64 positions"):
        lab.prepare(cell.model_copy(update={"task": task}))


@pytest.mark.parametrize(
    ("label", "changes", "message"),
    [
        ("Positive", {}, r"label 'Positive' is never generated: the backbone's tokenizer writes it as 'positive'"),
        ("not  so", {}, r"writes it as 'not so'"),
        ("😀", {}, r"writes it as ''"),
        (
            "rather positive indeed",
            {"recipe": {"max_target_length": 3}},
            r"has 4 tokens, above recipe.max_target_length, 3",
        ),
        (
            "so so",
            {"generation": {"max_length": 3}},
            r"takes 4 tokens .*, above generation.max_length, 3",
        ),
        ("so", {"generation": {"min_length": 3}}, r"ends after 2 tokens, below generation.min_length, 3"),
        ("so so", {"generation": {"max_length": 4, "min_length": 2}, "recipe": {"max_target_length": 3}}, None),
    ],
)
def test_a_label_that_can_never_be_generated_is_refused(
    tmp_path: Path, label: str, changes: dict[str, Any], message: str | None
) -> None:
    words = ["[PAD]", "</s>", "[UNK]", "positive", "not", "so", "rather", "indeed", "negative"]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    special = {"pad_token": "[PAD]", "eos_token": "</s>", "unk_token": "[UNK]"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
    (tmp_path / "config.json").write_text("{}")
    about = task_of().model_dump(mode="json")
    about |= {"kind": "text-label", "metrics": ["exact_match"], "labels": ["negative", label]}
    task = Task.model_validate({**about, **changes})
    if message is None:
        check_generated(task, tmp_path, fast)
        return
    with pytest.raises(BenchError, match=message):
        check_generated(task, tmp_path, fast)
