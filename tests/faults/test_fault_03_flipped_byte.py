"""Fault 3: one flipped bit anywhere in a checkpoint, or in the curve that goes with it, is found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.killed_training import killed_after_step_7
from helpers.small_cells import Lab, outcome, record_of


@pytest.mark.parametrize("method", ["lora", "adalora"])
@pytest.mark.parametrize(
    ("name", "place"), [("state.safetensors", 0.02), ("state.safetensors", 0.7), ("state.json", 0.5)]
)
def test_a_flipped_bit(
    lab: Lab, tmp_path: Path, undisturbed: Callable[..., Any], method: str, name: str, place: float
) -> None:
    cell, (_, newest) = killed_after_step_7(lab, tmp_path / "out", method)
    flip(newest / name, place)
    assert lab.train(cell, tmp_path / "out") == 0
    training = record_of(tmp_path / "out").training
    assert training is not None
    assert training.resumed_at == (6,)
    assert "SHA-256" in training.discarded_checkpoints[0]
    assert outcome(tmp_path / "out") == undisturbed(lab, cell)


def test_a_flipped_bit_in_the_curve(lab: Lab, tmp_path: Path, undisturbed: Callable[..., Any]) -> None:
    cell, _ = killed_after_step_7(lab, tmp_path / "out")
    flip(lab.checkpoints() / "curve.jsonl", 0.01)
    assert lab.train(cell, tmp_path / "out") == 0
    training = record_of(tmp_path / "out").training
    assert training is not None
    assert training.restarted
    assert outcome(tmp_path / "out") == undisturbed(lab, cell)


def flip(file: Path, place: float) -> None:
    data = bytearray(file.read_bytes())
    data[int(len(data) * place)] ^= 0x10
    file.write_bytes(bytes(data))
