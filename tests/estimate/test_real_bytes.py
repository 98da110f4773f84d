"""A model of DeBERTa-v3-base's shape, really stored: predicted bytes equal the measured ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bench.config.cell import Cell
from bench.config.resolve import load_study
from bench.estimate.parameters import meta_model, predict_parameters
from bench.models.adapters import attach
from bench.models.backbone import find_sites, load_backbone
from bench.training.measure import base_bytes

MIB = 2**20


def cell_stored(storage: str, *, double: bool = True) -> Cell:
    cell = load_study("paper").find("sst2", "qlora" if storage == "nf4" else "lora", "small", 0)
    method = cell.method.model_copy(update={"storage": storage, "double_quantization": double})
    return cell.model_copy(update={"method": method})


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deberta")
    backbone = cell_stored("bf16").backbone
    model = meta_model(backbone, "classification", 2).to_empty(device="cpu").bfloat16()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.02)
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("storage", "double", "mib"),
    [("nf4", False, 234.5), ("nf4", True, 230.5), ("bf16", True, None), ("fp32", True, None)],
)
def test_predicted_bytes_are_the_stored_ones(checkpoint: Path, storage: str, double: bool, mib: float | None) -> None:
    cell = cell_stored(storage, double=double)
    model = load_backbone(cell, checkpoint, torch.device("cpu"))
    measured = base_bytes(attach(model, cell, find_sites(model, cell.backbone)[:1]))
    predicted = predict_parameters(cell).base
    for part in ("weights", "quantization", "buffers"):
        assert getattr(predicted, part) == pytest.approx(getattr(measured, part), rel=1e-3), part
    if mib:  # the known figures, in which pooler and classifier (0.3 MiB) were packed too
        total = measured.weights + measured.quantization
        assert total / MIB == pytest.approx(mib, abs=0.5)
