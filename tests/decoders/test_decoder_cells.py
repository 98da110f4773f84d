"""Whole cells with a decoder: what they record, that plain PEFT loads their adapter, and that they survive a kill."""

from __future__ import annotations

import math
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from helpers.small_cells import Lab, Moment, outcome, record_of

from bench.analysis.stats.predictions import checked_sums
from bench.evaluation.evaluate import predict
from bench.inputs.datasets import open_data
from bench.inputs.reader import load_tokenizer
from bench.models.backbone import load_backbone


@pytest.fixture(params=["causal-lm", "multiple-choice"])
def decoder(request: pytest.FixtureRequest, shared_sums: Lab, shared_choices: Lab, tmp_path: Path) -> Lab:
    lab = shared_sums if request.param == "causal-lm" else shared_choices
    return replace(lab, cache=tmp_path / "cache")


@pytest.mark.parametrize("method", ["adalora", "qlora"])
def test_the_adapter_loads_with_peft_and_predicts_what_is_recorded(decoder: Lab, tmp_path: Path, method: str) -> None:
    from peft import PeftModel

    cell, out = decoder.prepare(decoder.cell(method)), tmp_path / "out"
    assert decoder.train(cell, out, every=None) == 0, (tmp_path / "log.txt").read_text()
    record, recorded = record_of(out), pd.read_parquet(out / "predictions.parquet")
    (model,) = (decoder.cache / "models").iterdir()
    (data,) = (decoder.cache / "data").iterdir()
    torch.manual_seed(99)
    loaded = PeftModel.from_pretrained(load_backbone(cell, model, torch.device("cpu")), out / "adapter")
    split = open_data(data).evaluation["test"]
    found = predict(loaded, cell.task, split, load_tokenizer(model), 8, torch.device("cpu"))
    assert found.values == recorded["prediction"].tolist()
    assert found.loss == record.loss["test"]
    assert record.parameters is not None
    assert record.parameters.head == 0
    for metric, value in record.metrics["test"]["last"].items():
        assert value is not None
        columns = {name: recorded[name].to_numpy() for name in recorded}
        sums = checked_sums(cell.task, metric, columns, value, out / "predictions.parquet")
        assert sums is not None
        assert sums.share
    if cell.task.kind == "multiple-choice":
        best = [scores.argmax() for scores in recorded["loglikelihoods"]]
        assert best == recorded["prediction"].tolist()
    else:
        assert record.evaluation["generation"]["max_new_tokens"] == 8
        per_token = -recorded["loglikelihood"].sum() / recorded["target_tokens"].sum()
        assert record.evaluation["perplexity"]["test"] == pytest.approx(math.exp(per_token), rel=1e-6)
        assert record.loss["test"] == pytest.approx(per_token, rel=1e-6)


def test_a_killed_cell_ends_as_if_nothing_had_happened(decoder: Lab, tmp_path: Path, undisturbed: Any) -> None:
    cell = decoder.prepare(decoder.cell("adalora"))
    out = tmp_path / "out"
    assert decoder.train(cell, out, Moment("step", 6, signal.SIGKILL)) == -signal.SIGKILL
    assert decoder.train(cell, out, attempt=2) == 0, (tmp_path / "log.txt").read_text()
    assert outcome(out) == undisturbed(decoder, cell)
    assert all(math.isfinite(loss) for loss in record_of(out).loss.values() if loss is not None)


def test_a_killed_cell_of_qlora_with_moments_in_8_bits(shared_sums: Lab, tmp_path: Path, undisturbed: Any) -> None:
    lab = replace(shared_sums, cache=tmp_path / "cache")
    recipe = {"optimizer": "adamw8bit", "gradient_checkpointing": True}
    cell, out = lab.prepare(lab.cell("qlora_adalora", **recipe)), tmp_path / "out"
    assert lab.train(cell, out, Moment("step", 6, signal.SIGKILL)) == -signal.SIGKILL
    assert lab.train(cell, out, attempt=2) == 0, (tmp_path / "log.txt").read_text()
    assert outcome(out) == undisturbed(lab, cell)
    record = record_of(out)
    assert record.training is not None
    assert record.training.resumed_at == (5,)
    assert record.spec["recipe"]["optimizer"] == "adamw8bit"
    assert record.ranks is not None
    assert sum(site.end for site in record.ranks.values()) < sum(site.start for site in record.ranks.values())
    assert record.bytes.optimizer is not None
    assert record.bytes.gradients is not None
    assert record.bytes.optimizer < record.bytes.gradients  # two bytes and some per parameter, not eight


def test_two_processes_predict_what_one_does(shared_choices: Lab, tmp_path: Path) -> None:
    from peft import PeftModel

    lab = replace(shared_choices, cache=tmp_path / "cache")
    cell, out = lab.prepare(lab.cell("lora", processes=2)), tmp_path / "out"
    assert lab.train_together(cell, out, every=None) == [0, 0]
    (model,) = (lab.cache / "models").iterdir()
    (data,) = (lab.cache / "data").iterdir()
    loaded = PeftModel.from_pretrained(load_backbone(cell, model, torch.device("cpu")), out / "adapter")
    found = predict(
        loaded, cell.task, open_data(data).evaluation["test"], load_tokenizer(model), 8, torch.device("cpu")
    )
    recorded = pd.read_parquet(out / "predictions.parquet")
    assert found.values == recorded["prediction"].tolist()
    for scores, saved in zip(found.details["loglikelihoods"], recorded["loglikelihoods"], strict=True):
        assert scores == pytest.approx(list(saved), rel=1e-6)
