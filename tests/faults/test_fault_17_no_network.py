"""Fault 17: what was not prepared is named at once; nothing waits for a network."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from helpers.small_cells import Lab

from bench.errors import BenchError
from bench.inputs.backbones import prepare_backbone
from bench.training.run import train_cell


def test_missing_model_and_data_are_named(lab: Lab, tmp_path: Path) -> None:
    cell, began = lab.cell("lora"), time.monotonic()
    with pytest.raises(BenchError, match=r"small.*not prepared.*manifest\.json is missing") as caught:
        train_cell(cell, out=tmp_path / "out", cache=lab.cache)
    assert caught.value.exit_code == 2
    prepare_backbone(cell.backbone, mirror=None, cache=lab.cache)
    with pytest.raises(BenchError, match=r"no prepared data.*cola-.*manifest\.json is missing"):
        train_cell(cell, out=tmp_path / "out", cache=lab.cache)
    assert time.monotonic() - began < 5
    assert not (tmp_path / "out").exists()
