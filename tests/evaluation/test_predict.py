"""Predictions: in the rows' order whatever the batches, and stopped between two of them."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.small_cells import Lab
from helpers.splits import split_of
from transformers import T5Config, T5ForConditionalGeneration

from bench.config.task import Task
from bench.errors import TransientError
from bench.evaluation.evaluate import evaluate, predict
from bench.evaluation.predictions_file import write_predictions
from bench.inputs.cache_keys import backbone_folder, data_folder
from bench.inputs.datasets import open_data
from bench.inputs.reader import load_tokenizer
from bench.models.backbone import load_backbone

CPU = torch.device("cpu")


@pytest.mark.parametrize("kind", ["classification", "summarization", "question-answering"])
def test_order_and_values_do_not_depend_on_the_batch(
    shared_lab: Lab, shared_summaries: Lab, shared_questions: Lab, tmp_path: Path, kind: str
) -> None:
    labs = {lab.kind: lab for lab in (shared_lab, shared_summaries, shared_questions)}
    lab = replace(labs[kind], cache=tmp_path)
    cell = lab.prepare(lab.cell("lora"))
    model_folder = backbone_folder(cell.backbone, None, tmp_path)
    torch.manual_seed(0)
    model, tokenizer = load_backbone(cell, model_folder, CPU), load_tokenizer(model_folder)
    split = open_data(data_folder(cell.task, cell.backbone, cell.data, None, tmp_path)).evaluation["validation"]
    whole = predict(model, cell.task, split, tokenizer, 16, CPU)
    single = predict(model, cell.task, split, tokenizer, 1, CPU)
    assert single.values == whole.values
    assert single.loss == pytest.approx(whole.loss, rel=1e-4)
    assert model.training  # as it was
    write_predictions(tmp_path / "a.parquet", {"v": split}, {"v": whole.values}, {})
    write_predictions(tmp_path / "b.parquet", {"v": split}, {"v": single.values}, {})
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()

    def stop(done: int) -> None:
        if done >= 8:
            raise TransientError("stop")

    with pytest.raises(TransientError):
        predict(model, cell.task, split, tokenizer, 4, CPU, stop)
    assert model.training


def _t5(tokenizer: Any) -> T5ForConditionalGeneration:
    special = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    sizes = {"vocab_size": 300, "d_model": 64, "d_kv": 32, "d_ff": 128, "num_layers": 2, "num_heads": 2}
    return T5ForConditionalGeneration(T5Config(decoder_start_token_id=tokenizer.pad_token_id, **special, **sizes))


@pytest.mark.parametrize(("family", "attention"), [("bart", "sdpa"), ("bart", "eager"), ("t5", "sdpa")])
def test_a_source_is_encoded_once_for_all_beams_and_texts_are_those_of_generate(
    shared_summaries: Lab, tmp_path: Path, family: str, attention: str
) -> None:
    lab = replace(shared_summaries, cache=tmp_path)
    cell = lab.prepare(lab.cell("lora"))
    folder = backbone_folder(cell.backbone, None, tmp_path)
    torch.manual_seed(0)
    tokenizer = load_tokenizer(folder)
    model = load_backbone(cell, folder, CPU) if family == "bart" else _t5(tokenizer)
    model.set_attn_implementation(attention)
    split = open_data(data_folder(cell.task, cell.backbone, cell.data, None, tmp_path)).evaluation["validation"]
    with torch.no_grad():
        for parameter in model.parameters():  # so that sources differ in what is said of them, and beams change places
            parameter.add_(0.4 * torch.randn_like(parameter))
    assert cell.task.generation
    generation = cell.task.generation.model_copy(update={"beams": 4, "min_length": 8, "no_repeat_ngram": 1})
    task = cell.task.model_copy(update={"generation": generation})
    encoded, keys = [], []
    key = re.compile(r"decoder\.(layers|block)\.\d\..*(encoder_attn\.k_proj|EncDecAttention\.k)")
    heard = [module for name, module in model.named_modules() if key.search(name)]
    handles = [module.register_forward_hook(lambda _, given, __: keys.append(len(given[0]))) for module in heard]
    handles.append(model.get_encoder().register_forward_hook(lambda *_: encoded.append(1)))
    found = predict(model, task, split, tokenizer, 4, CPU).values
    for handle in handles:
        handle.remove()
    batches = len(split) / 4
    assert len(encoded) == batches
    assert keys == [4] * int(2 * batches)  # each of two layers, a row a source
    assert len(set(found)) > len(found) / 2
    model.eval()
    options = {"num_beams": 4, "max_length": 8, "min_length": 8, "no_repeat_ngram_size": 1, "early_stopping": True}
    for ids, text in zip(split.input_ids, found, strict=True):
        out = model.generate(torch.from_numpy(ids).long()[None], do_sample=False, **options)
        assert tokenizer.batch_decode(out, skip_special_tokens=True)[0].strip() == text


TOKENIZER = SimpleNamespace(pad_token_id=0, pad_token_type_id=0, padding_side="right")


@pytest.mark.parametrize(("kind", "values"), [("classification", [-1, -1]), ("regression", [math.nan, math.nan])])
def test_logits_that_are_no_numbers_are_no_class_and_no_loss(kind: str, values: list[float]) -> None:
    class Broken(torch.nn.Module):
        def forward(self, input_ids: torch.Tensor, **_: Any) -> SimpleNamespace:
            return SimpleNamespace(logits=torch.full((len(input_ids), 1 if kind == "regression" else 3), torch.nan))

    about = {"labels": ["a", "b", "c"], "metrics": ["accuracy", "f1"]}
    if kind == "regression":
        about = {"metrics": ["pearson"]}
    data = {"hub": "a/b", "columns": {"text": ["t"], "target": "y"}}
    task = Task.model_validate({"name": "t", "kind": kind, "data": data, **about})
    ids = [np.array([1, 2], dtype=np.int32)] * 2
    split = split_of(ids, [0, 1], [np.array([], dtype=np.int32)] * 2)
    found = evaluate(Broken(), task, {"validation": split}, TOKENIZER, 2, CPU)
    np.testing.assert_array_equal(found.predictions["validation"], values)
    assert found.loss == {"validation": None}
    expected = {"pearson": None} if kind == "regression" else {"accuracy": 0.0, "f1": 0.0}
    assert found.metrics == {"validation": expected}
