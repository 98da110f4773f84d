"""Adapters of PEFT that need no code of ours: a YAML file is enough, and everything else works as for the others."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from helpers.small_cells import Lab, Moment, outcome, record_of

from bench.config.catalog import read_entry
from bench.config.cell import Cell
from bench.config.method import Method
from bench.config.peft_fields import peft_problems
from bench.config.resolve import load_study
from bench.errors import BenchError
from bench.estimate.parameters import Prediction, predict_parameters
from bench.estimate.plan import plan
from bench.estimate.plan_table import show_plan
from bench.evaluation.evaluate import predict
from bench.inputs.backbones import prepare_backbone
from bench.inputs.datasets import open_data
from bench.inputs.reader import load_tokenizer
from bench.models.adapters import attach
from bench.models.backbone import find_sites, load_backbone
from bench.models.sites import chosen_sites
from bench.training.measure import base_bytes, frozen_parameters, head_parameters

LOHA = "name: loha\nlabel: LoHa\nadapter: peft\npeft: {config: LoHaConfig, fields: {module_dropout: 0.0}}\n"
RANKS = {"dora": 2, "rslora": 2, "ia3": 0, "loha": 2}


def _cell(lab: Lab, method: str, folder: Path) -> Cell:
    """Two-layer BERT; its matrices have no key or value, so (IA)³ takes the query in their place."""
    if method == "loha":
        (folder / "loha.yaml").write_text(LOHA)
        changed = read_entry(Method, folder / "loha.yaml").item
        return lab.prepare(lab.cell().model_copy(update={"method": changed}))
    cell = lab.cell(method)
    if method == "ia3":
        changed = cell.method.model_copy(update={"matrices": ["query", "feed-forward-out"]})
        cell = cell.model_copy(update={"method": changed})
    return lab.prepare(cell)


@pytest.mark.parametrize("method", ["dora", "rslora", "ia3", "loha"])
def test_the_adapter_is_trained_counted_saved_and_reloaded(lab: Lab, tmp_path: Path, method: str) -> None:
    from peft import PeftModel

    cell, out = _cell(lab, method, tmp_path), tmp_path / "out"
    assert lab.train(cell, out, every=None) == 0, (tmp_path / "log.txt").read_text()
    (folder,), (data,) = (lab.cache / "models").iterdir(), (lab.cache / "data").iterdir()
    torch.manual_seed(99)
    base = load_backbone(cell, folder, torch.device("cpu"))
    frozen = sum(p.numel() for n, p in base.named_parameters() if "classifier" not in n and "pooler" not in n)
    sites = chosen_sites(find_sites(base, cell.backbone), cell.method)
    loaded = PeftModel.from_pretrained(base, out / "adapter", is_trainable=True)
    split = open_data(data).evaluation["validation"]
    found = predict(loaded, cell.task, split, load_tokenizer(folder), 8, torch.device("cpu"))
    record = record_of(out)
    assert found.values == pd.read_parquet(out / "predictions.parquet")["prediction"].tolist()
    assert found.loss == record.loss["validation"]

    assert record.parameters is not None
    adapter = sum(p.numel() for n, p in loaded.named_parameters() if p.requires_grad and "modules_to_save" not in n)
    assert record.parameters.adapter_end == adapter
    assert record.parameters.base == frozen
    assert record.parameters.budget.used == RANKS[method] * len(sites)
    assert record.parameters.budget.limit == 2 * len(sites)

    torch.manual_seed(cell.seed + 1)
    fresh = attach(load_backbone(cell, folder, torch.device("cpu")), cell, sites).state_dict()
    trained = {n: p for n, p in loaded.named_parameters() if p.requires_grad and "modules_to_save" not in n}
    assert not [name for name, p in trained.items() if torch.equal(p, fresh[name])]


@pytest.mark.parametrize("method", ["dora", "ia3"])
def test_an_interrupted_training_ends_in_the_same_bits(lab: Lab, tmp_path: Path, method: str, undisturbed) -> None:
    cell = _cell(lab, method, tmp_path)
    assert lab.train(cell, tmp_path / "out", Moment("step", 5, signal.SIGKILL)) == -signal.SIGKILL
    assert lab.train(cell, tmp_path / "out") == 0, (tmp_path / "log.txt").read_text()
    assert outcome(tmp_path / "out") == undisturbed(lab, cell)


@pytest.mark.parametrize("method", ["dora", "rslora", "ia3"])
def test_predicted_equals_measured_on_a_real_model(tmp_path: Path, method: str) -> None:
    cell = load_study("more-adapters").find("sst2", method, "large", 0)
    model = load_backbone(cell, prepare_backbone(cell.backbone, mirror=None, cache=tmp_path), torch.device("cpu"))
    model = attach(model, cell, chosen_sites(find_sites(model, cell.backbone), cell.method))
    predicted, heads = predict_parameters(cell), head_parameters(model)
    assert predicted.head == heads
    assert predicted.base == base_bytes(model)
    assert frozen_parameters(model) == predicted.total - sum(heads.values())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained == predicted.adapter_start + sum(heads.values())


def _method(config: str, **fields: object) -> Method:
    return Method(name="m", label="M", adapter="peft", peft={"config": config, "fields": fields})


def _planned_and_real(lab: Lab, method: Method) -> tuple[Prediction, object]:
    cell = lab.cell()
    config = json.loads((lab.model / "config.json").read_text())
    backbone = cell.backbone.model_copy(update={"config": config})
    cell = cell.model_copy(update={"method": method, "backbone": backbone})
    folder = prepare_backbone(backbone, mirror=None, cache=lab.cache)
    model = load_backbone(cell, folder, torch.device("cpu"))
    return predict_parameters(cell), attach(model, cell, find_sites(model, backbone))


@pytest.mark.parametrize(
    "fields", [{"bias": "all"}, {"bias": "lora_only"}, {"lora_bias": True}, {"use_dora": True}], ids=str
)
def test_all_that_peft_trains_beside_the_heads_is_the_adapter(lab: Lab, fields: dict[str, object]) -> None:
    planned, model = _planned_and_real(lab, _method("LoraConfig", **fields))
    heads = head_parameters(model)
    assert planned.head == heads == {"pooler": 64 * 65, "classifier": 2 * 65}
    trained, _ = model.get_nb_trainable_parameters()
    assert planned.adapter_start == trained - sum(heads.values())
    assert planned.base == base_bytes(model)


def test_biases_are_not_trained_in_16_bits(tmp_path: Path) -> None:
    file = tmp_path / "biases.yaml"
    method = "name: biases\nlabel: B\nadapter: peft\nstorage: bf16\npeft:\n  config: LoraConfig\n"
    file.write_text(f"{method}  fields:\n    bias: all\n")
    (problem,) = peft_problems([read_entry(Method, file)])
    assert (problem.line, "bias: all" in problem.message, "not bf16" in problem.message) == (8, True, True)


def test_an_initialization_from_the_base_is_planned(lab: Lab) -> None:
    """PiSSA takes a base apart by its values, which a plan doesn't have; they change no count."""
    planned, model = _planned_and_real(lab, _method("LoraConfig", init_lora_weights="pissa"))
    assert planned.adapter_start + sum(planned.head.values()) == model.get_nb_trainable_parameters()[0]
    assert planned.base == base_bytes(model)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("ShiraConfig", "method 'm': PEFT can't attach ShiraConfig without the base's weights"),
        ("C3AConfig", "method 'm': C3AConfig does not fit 'minilm': The block size should be a factor of the input"),
    ],
)
def test_what_can_not_be_planned_is_said_in_a_sentence(config: str, message: str) -> None:
    study = load_study("demo", ["tasks=[sst2]", "methods=[lora]"])
    cell = study.cells[0].model_copy(update={"method": _method(config)})
    with pytest.raises(BenchError, match=message):
        plan(replace(study, cells=(cell,)))


def test_a_peak_that_can_not_be_counted_is_unknown() -> None:
    study = load_study("demo", ["tasks=[sst2]", "methods=[lora]"])
    rows = plan(replace(study, cells=(study.cells[0].model_copy(update={"method": _method("WaveFTConfig")}),)))
    assert rows[0]["adapter_parameters_start"] > 0
    assert "can't be counted without values" in rows[0]["predicted_peak"]["unknown"]
    assert "unknown" in show_plan(rows)


@pytest.mark.long
def test_an_adapter_that_no_plan_can_attach_is_trained_all_the_same(tmp_path: Path) -> None:
    """It costs two figures beside the record's."""
    short = ["recipe.max_steps=2", "limits.train_rows=32", "limits.evaluation_rows=16"]
    cell = load_study("demo", short).find("cola", "lora", "small", 0)
    cell = cell.model_copy(update={"method": _method("ShiraConfig")})
    lab = Lab(tmp_path / "cache", Path(), "classification")
    assert lab.train(lab.prepare(cell), tmp_path / "out", every=None) == 0
    record = record_of(tmp_path / "out")
    assert record.status == "ok"
    assert record.bytes.peak.predicted is None
    assert record.training.utilization is None
