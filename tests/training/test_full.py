"""Method `full`: every parameter is trained through the same loop, and accounted for."""

from __future__ import annotations

import signal
from pathlib import Path

import pandas as pd
import pytest
import torch
from helpers.lab_models import STEPS
from helpers.small_cells import Lab, Moment, outcome, record_of

from bench.config.resolve import load_study
from bench.estimate.parameters import predict_parameters
from bench.evaluation.evaluate import predict
from bench.inputs.backbones import prepare_backbone
from bench.inputs.datasets import open_data
from bench.inputs.reader import load_tokenizer
from bench.models.adapters import attach
from bench.models.backbone import find_sites, load_backbone
from bench.training.measure import base_bytes, frozen_parameters, trained_heads


def test_everything_is_trained_and_the_saved_model_predicts_what_is_recorded(lab: Lab, tmp_path: Path) -> None:
    cell, out = lab.prepare(lab.cell("full")), tmp_path / "out"
    assert lab.train(cell, out, every=None) == 0, (tmp_path / "log.txt").read_text()
    (folder,), (data,) = (lab.cache / "models").iterdir(), (lab.cache / "data").iterdir()
    torch.manual_seed(99)
    before = load_backbone(cell, folder, torch.device("cpu"))
    after = load_backbone(cell, out / "model", torch.device("cpu"))
    state = dict(before.named_parameters())
    still = [name for name, p in after.named_parameters() if torch.equal(p, state[name])]
    assert not still
    split = open_data(data).evaluation["validation"]
    found = predict(after, cell.task, split, load_tokenizer(folder), 8, torch.device("cpu"))
    assert found.values == pd.read_parquet(out / "predictions.parquet")["prediction"].tolist()

    record = record_of(out)
    assert record.parameters is not None
    assert record.bytes is not None
    total = sum(p.numel() for p in after.parameters())
    assert record.parameters.base == 0
    assert record.parameters.adapter_end + record.parameters.head == total
    assert set(record.parameters.head_by_module) == {"pooler", "classifier"}
    assert record.bytes.optimizer == 8 * total
    assert record.bytes.adapter_file == (out / "model" / "model.safetensors").stat().st_size > 4 * total


@pytest.mark.parametrize("kind", ["classification", "summarization"])
def test_an_interrupted_training_ends_in_the_same_bits(
    lab: Lab, summaries: Lab, tmp_path: Path, kind: str, undisturbed
) -> None:
    chosen = lab if kind == "classification" else summaries
    cell = chosen.prepare(chosen.cell("full"))
    assert chosen.train(cell, tmp_path / "out", Moment("step", STEPS - 3, signal.SIGKILL)) == -signal.SIGKILL
    assert chosen.train(cell, tmp_path / "out") == 0, (tmp_path / "log.txt").read_text()
    assert outcome(tmp_path / "out") == undisturbed(chosen, cell)
    assert record_of(tmp_path / "out").training.resumed_at  # type: ignore[union-attr]


def test_predicted_equals_measured_on_a_real_model(tmp_path: Path) -> None:
    cell = load_study("full-finetune").find("sst2", "full", "large", 0)
    model = load_backbone(cell, prepare_backbone(cell.backbone, mirror=None, cache=tmp_path), torch.device("cpu"))
    model = attach(model, cell, find_sites(model, cell.backbone))
    predicted, heads = predict_parameters(cell), trained_heads(model, cell)
    assert predicted.head == heads
    assert predicted.base == base_bytes(model)
    assert frozen_parameters(model) == 0
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained == predicted.total == predicted.adapter_start + sum(heads.values())
    assert predicted.optimizer == 8 * trained
