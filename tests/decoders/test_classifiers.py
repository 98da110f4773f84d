"""Decoders with a head: what pads their rows, which changes no score, and whole cells of classification."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from helpers.small_cells import Lab, make_lab, record_of
from helpers.small_models import save_small_gpt2
from transformers import BertConfig, BertModel

from bench.config.backbone import Backbone
from bench.engine.schedule import RankSchedule
from bench.evaluation.evaluate import predict
from bench.evaluation.loss import task_loss
from bench.inputs.backbones import open_backbone, prepare_backbone
from bench.inputs.collate import Collator
from bench.inputs.datasets import open_data
from bench.inputs.reader import load_tokenizer
from bench.models.adapters import attach
from bench.models.backbone import find_sites, load_backbone
from bench.models.core import build_core

CPU = torch.device("cpu")
END = "<|endoftext|>"


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return make_lab(tmp_path_factory.mktemp("gpt2"), "classifying-gpt2")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return make_lab(tmp_path_factory.mktemp("llama"), "classifying-llama")


@pytest.fixture(params=["gpt2", "llama"])
def decoder(request: pytest.FixtureRequest) -> Lab:
    lab: Lab = request.getfixturevalue(request.param)
    return lab


def folders(lab: Lab, cell: Any) -> tuple[Path, Path]:
    """Of the prepared model and the prepared rows."""
    lab.prepare(cell)
    (data,) = (lab.cache / "data").iterdir()
    return prepare_backbone(cell.backbone, mirror=None, cache=lab.cache), data


def test_a_decoder_without_a_token_for_padding_takes_the_one_that_ends_a_text(gpt2: Lab) -> None:
    cell = gpt2.cell("lora")
    assert load_tokenizer(gpt2.model).pad_token is None
    folder, _ = folders(gpt2, cell)
    tokenizer = load_tokenizer(folder)
    assert (tokenizer.pad_token, tokenizer.pad_token_id, tokenizer.padding_side) == (END, 0, "right")
    assert open_backbone(folder, cell.backbone)["pad_token"] == END
    for name in ("config.json", "generation_config.json"):
        assert json.loads((folder / name).read_text())["pad_token_id"] == 0
    assert tokenizer("Nobody sleeps.")["input_ids"] == load_tokenizer(gpt2.model)("Nobody sleeps.")["input_ids"]


def test_a_token_for_padding_of_its_own_stays(llama: Lab) -> None:
    cell = llama.cell("lora")
    folder, _ = folders(llama, cell)
    assert open_backbone(folder, cell.backbone)["pad_token"] == "<pad>"
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        assert (folder / name).read_bytes() == (llama.model / name).read_bytes()


def test_the_config_follows_the_tokenizer(tmp_path: Path) -> None:
    """Rows are padded by the tokenizer, and the head looks for what the config names."""
    save_small_gpt2(tmp_path / "model")
    tokenizer = load_tokenizer(tmp_path / "model")
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(5)
    tokenizer.save_pretrained(tmp_path / "model")
    backbone = Backbone(name="b", path=str(tmp_path / "model"), kinds=["classification"], matrices=["c_attn"])
    folder = prepare_backbone(backbone, mirror=None, cache=tmp_path / "cache")
    assert json.loads((folder / "config.json").read_text())["pad_token_id"] == 5


def test_an_encoder_stays_as_it_is(tmp_path: Path) -> None:
    save_small_gpt2(tmp_path)
    BertModel(
        BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    ).save_pretrained(tmp_path)
    backbone = Backbone(name="b", path=str(tmp_path), kinds=["classification"], matrices=["query"])
    folder = prepare_backbone(backbone, mirror=None, cache=tmp_path / "cache")
    assert "pad_token" not in open_backbone(folder, backbone)
    assert load_tokenizer(folder).pad_token is None


def test_the_padding_of_a_row_changes_no_score(decoder: Lab, tmp_path: Path) -> None:
    cell = decoder.cell("lora", max_length=60)
    folder, data = folders(replace(decoder, cache=tmp_path), cell)
    torch.manual_seed(0)
    model = load_backbone(cell, folder, CPU).eval()
    split = open_data(data).train
    collate = Collator(split, cell.task.kind, load_tokenizer(folder), CPU)
    lengths = [len(ids) for ids in split.input_ids]
    rows = sorted(range(len(lengths)), key=lengths.__getitem__)
    rows = [rows[0], rows[len(rows) // 2], rows[-1]]
    assert len({lengths[row] for row in rows}) == 3
    batch = collate(rows)
    assert batch.inputs["attention_mask"][:, 0].all()
    with torch.no_grad():
        together = task_loss(model, batch, cell.task.kind)[1]
        alone = torch.cat([task_loss(model, collate([row]), cell.task.kind)[1] for row in rows])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
    assert (together[0] - together[2]).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("name", "method"), [("gpt2", "lora"), ("gpt2", "qlora_adalora"), ("gpt2", "adalora"), ("llama", "adalora")]
)
def test_a_cell_ends_and_plain_peft_loads_its_adapter(
    name: str, method: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    from peft import PeftModel

    lab: Lab = request.getfixturevalue(name)
    cell, out = lab.cell(method), tmp_path / "out"
    folder, data = folders(lab, cell)
    assert lab.train(cell, out, every=None) == 0, (tmp_path / "log.txt").read_text()
    assert "fan_in_fan_out" not in (tmp_path / "log.txt").read_text()
    record = record_of(out)
    assert (record.status, record.parameters.head) == ("ok", 2 * 64)
    torch.manual_seed(99)
    loaded = PeftModel.from_pretrained(load_backbone(cell, folder, CPU), out / "adapter")
    split = open_data(data).evaluation["validation"]
    found = predict(loaded, cell.task, split, load_tokenizer(folder), 8, CPU)
    assert found.values == pd.read_parquet(out / "predictions.parquet")["prediction"].tolist()
    assert found.loss == record.loss["validation"]


@pytest.mark.parametrize("method", ["lora", "adalora"])
def test_checkpointing_changes_neither_loss_nor_gradient(decoder: Lab, method: str) -> None:
    found = []
    for checkpointing in (False, True):
        cell = decoder.cell(method, gradient_checkpointing=checkpointing)
        folder, data = folders(decoder, cell)
        torch.manual_seed(0)
        model = load_backbone(cell, folder, CPU)
        assert model.is_gradient_checkpointing == checkpointing
        sites = find_sites(model, cell.backbone)
        model = attach(model, cell, sites)
        budget = 2 * len(sites)
        schedule = RankSchedule(initial_budget=budget, target_budget=budget, total_steps=9)
        core = build_core(model, sites, cell, schedule)
        batch = Collator(open_data(data).train, cell.task.kind, load_tokenizer(folder), CPU)(range(4))
        with torch.no_grad():  # from where LoRA starts A has no gradient
            core.flat.data.add_(0.05)
            core.flat.fold()
        torch.manual_seed(1)  # of the base's dropout
        loss, _ = task_loss(model, batch, cell.task.kind)
        core.accumulate(loss)
        found.append((loss.detach(), core.flat.grad.clone()))
    (loss, grad), (other_loss, other_grad) = found
    assert torch.equal(loss, other_loss)
    assert (grad != 0).float().mean() > 0.9
    torch.testing.assert_close(other_grad, grad, rtol=1e-6, atol=1e-8)
