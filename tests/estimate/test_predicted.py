"""Predicted counts equal the published ones, and predicted bytes those of a model that is really stored."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bench.config.resolve import load_study
from bench.estimate.parameters import predict_parameters
from bench.estimate.plan import plan
from bench.inputs.backbones import prepare_backbone
from bench.models.adapters import attach
from bench.models.backbone import find_sites, load_backbone
from bench.training.measure import base_bytes, frozen_parameters, head_parameters


@pytest.mark.parametrize(
    ("task", "budget", "total", "adapter", "classifier"),
    [
        ("sst2", "small", 184_423_682, 331_776, 1_538),
        ("mnli", "small", 184_424_451, 331_776, 2_307),
        ("sst2", "large", 184_423_682, 1_327_104, 1_538),
        ("cnn_dailymail", "small", 406_291_456, 2 * 540_672, None),
        ("cnn_dailymail", "large", 406_291_456, 8 * 540_672, None),
    ],
)
def test_counts_are_the_published_ones(
    task: str, budget: str, total: int, adapter: int, classifier: int | None
) -> None:
    predicted = predict_parameters(load_study("paper").find(task, "lora", budget, 0))
    assert predicted.total == total
    assert (predicted.adapter_start, predicted.adapter_end) == (adapter, (adapter, adapter))
    assert predicted.head.get("classifier") == classifier
    assert predicted.head.get("pooler") == (590_592 if classifier else None)


def test_deberta_has_72_matrices_and_the_pooler_is_none_of_them() -> None:
    predicted = predict_parameters(load_study("paper").find("sst2", "adalora", "small", 0))
    assert predicted.schedule is not None
    assert (predicted.schedule.initial_budget, predicted.schedule.target_budget) == (72 * 4, 72 * 2)
    assert predicted.adapter_start == 4 * (48 * 1536 + 24 * 3840 + 72)


@pytest.mark.parametrize("method", ["lora", "adalora", "qlora", "qlora_adalora"])
def test_predicted_equals_measured_on_a_real_model(method: str, tmp_path: Path) -> None:
    cell = load_study("demo").find("sst2", method, "small", 0)
    folder = prepare_backbone(cell.backbone, mirror=None, cache=tmp_path)
    model = load_backbone(cell, folder, torch.device("cpu"))
    peft_model = attach(model, cell, find_sites(model, cell.backbone))
    predicted = predict_parameters(cell)
    assert base_bytes(peft_model) == predicted.base
    assert head_parameters(peft_model) == predicted.head
    assert frozen_parameters(peft_model) == predicted.total - sum(predicted.head.values())
    adapter = sum(p.numel() for n, p in peft_model.named_parameters() if p.requires_grad and "lora_" in n)
    assert adapter == predicted.adapter_start


def test_the_plan_has_a_row_for_every_cell_and_invents_no_time(tmp_path: Path) -> None:
    rows = plan(load_study("demo"), results=tmp_path, cache=tmp_path)
    assert len(rows) == 40
    assert all(row["seconds"] is None for row in rows)
