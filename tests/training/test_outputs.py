"""What a trained cell leaves: an adapter that plain PEFT loads, predictions, a curve, a record that agrees."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest
import torch
from helpers.lab_models import STEPS
from helpers.small_cells import METHODS, Lab, record_of

from bench.evaluation.evaluate import predict
from bench.evaluation.metrics import score
from bench.files import digest
from bench.inputs.datasets import open_data
from bench.inputs.reader import load_tokenizer
from bench.models.backbone import load_backbone


@pytest.mark.parametrize("method", METHODS)
def test_the_adapter_loads_with_peft_and_predicts_what_is_recorded(lab: Lab, tmp_path: Path, method: str) -> None:
    """Heads included; the base is loaded anew under another seed."""
    from peft import PeftModel

    cell, out = lab.prepare(lab.cell(method)), tmp_path / "out"
    assert lab.train(cell, out, every=None) == 0, (tmp_path / "log.txt").read_text()
    record, recorded = record_of(out), pd.read_parquet(out / "predictions.parquet")
    (model,) = (lab.cache / "models").iterdir()
    (data,) = (lab.cache / "data").iterdir()
    torch.manual_seed(99)
    base = load_backbone(cell, model, torch.device("cpu"))
    loaded = PeftModel.from_pretrained(base, out / "adapter")
    split = open_data(data).evaluation["validation"]
    found = predict(loaded, cell.task, split, load_tokenizer(model), 8, torch.device("cpu"))
    assert found.values == recorded["prediction"].tolist()
    assert found.loss == record.loss["validation"]
    assert recorded.columns.tolist() == ["split", "row", "reference", "prediction"]
    assert recorded["row"].tolist() == list(split.rows)
    assert record.metrics["validation"]["last"] == score(cell.task, found.values, list(split.targets))
    assert record.reported is not None
    assert record.reported.value == record.metrics["validation"]["last"]["mcc"]


def test_summaries_reload_and_carry_a_score_each(summaries: Lab, tmp_path: Path) -> None:
    from peft import PeftModel

    cell, out = summaries.prepare(summaries.cell("adalora")), tmp_path / "out"
    assert summaries.train(cell, out, every=None) == 0, (tmp_path / "log.txt").read_text()
    record, recorded = record_of(out), pd.read_parquet(out / "predictions.parquet")
    (model,) = (summaries.cache / "models").iterdir()
    (data,) = (summaries.cache / "data").iterdir()
    loaded = PeftModel.from_pretrained(load_backbone(cell, model, torch.device("cpu")), out / "adapter")
    split = open_data(data).evaluation["validation"]
    found = predict(loaded, cell.task, split, load_tokenizer(model), 8, torch.device("cpu"))
    assert found.values == recorded["prediction"].tolist()
    for metric, value in record.metrics["validation"]["last"].items():
        assert math.fsum(recorded[f"score_{metric}"]) / len(recorded) == value
    assert recorded["reference"].tolist() == list(split.targets)
    assert record.evaluation["generation"]["num_beams"] == 2
    assert record.evaluation["generation_overruled"] == {}


def test_curve_and_record_agree(lab: Lab, tmp_path: Path) -> None:
    cell, out = lab.prepare(lab.cell("adalora")), tmp_path / "out"
    assert lab.train(cell, out) == 0
    record = record_of(out)
    curve = [json.loads(line) for line in (out / "curve.jsonl").read_text().splitlines()]
    assert [line["step"] for line in curve] == list(range(1, STEPS + 1))
    ranks = [line["live_ranks"] for line in curve if "live_ranks" in line]
    assert ranks[0] == [site.start for site in record.ranks.values()]
    assert ranks[-1] == [site.end for site in record.ranks.values()]
    assert record.parameters is not None
    assert sum(ranks[-1]) == record.parameters.budget.used <= record.parameters.budget.limit == curve[-1]["budget"]
    assert record.training is not None
    assert record.training.final_loss == curve[-1]["loss"]
    assert record.training.rows == 3 * 48
    assert {name: digest(out / name) for name in record.files} == record.files


def test_methods_of_a_task_see_the_same_rows_in_the_same_order(lab: Lab, tmp_path: Path) -> None:
    """At the first step no adapter has an effect (B is zero), so with equal heads the loss is the same."""
    losses, tokens = {}, set()
    for method in ("lora", "adalora"):
        cell = lab.prepare(lab.cell(method))
        assert lab.train(cell, tmp_path / method) == 0
        losses[method] = json.loads((tmp_path / method / "curve.jsonl").read_text().splitlines()[0])["loss"]
        training = record_of(tmp_path / method).training
        assert training is not None
        tokens.add(training.tokens)
    assert losses["lora"] == losses["adalora"]
    assert len(tokens) == 1


def test_a_fault_on_the_way_is_tried_again_and_recorded_at_the_last_try(lab: Lab, tmp_path: Path) -> None:
    cell, out = lab.prepare(lab.cell("lora")), tmp_path / "out"
    assert lab.train(cell, out, before=_break_after_four, attempt=1, attempts=2) == 75
    assert not (out / "record.json").exists()
    assert lab.train(cell, out, before=_break_after_four, attempt=2, attempts=2) == 0
    record = record_of(out)
    assert record.status == "failed"
    assert record.message == "OSError: the network share went away"
    assert any("Traceback" in line for line in record.log_tail)
    assert record.training is not None
    assert record.training.attempt == 2
    (out / "record.json").unlink()  # what --rerun-failed does
    assert lab.train(cell, out) == 0
    assert record_of(out).status == "ok"


def _break_after_four() -> None:
    from typing import Any

    from bench.training.loop import Loop

    original, steps = Loop.train_step, [0]

    def step(*args: Any) -> None:
        steps[0] += 1
        if steps[0] > 4:
            raise OSError("the network share went away")
        original(*args)

    Loop.train_step = step  # type: ignore[method-assign]
