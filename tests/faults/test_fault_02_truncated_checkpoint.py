"""Fault 2: a truncated checkpoint is skipped by name, the next older one is used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.killed_training import killed_after_step_7
from helpers.small_cells import Lab, outcome, record_of


@pytest.mark.parametrize(
    ("name", "share"),
    [("state.safetensors", 0.5), ("state.safetensors", 0.0), ("state.json", 0.9), ("manifest.json", 0.3)],
)
def test_a_cut_file(lab: Lab, tmp_path: Path, undisturbed: Callable[..., Any], name: str, share: float) -> None:
    cell, (_, newest) = killed_after_step_7(lab, tmp_path / "out")
    data = (newest / name).read_bytes()
    (newest / name).write_bytes(data[: int(len(data) * share)])
    assert lab.train(cell, tmp_path / "out") == 0
    training = record_of(tmp_path / "out").training
    assert training is not None
    assert training.resumed_at == (6,)
    assert training.discarded_checkpoints[0].startswith("step-000000007")
    assert f"WARNING: checkpoint {newest} is not used" in (tmp_path / "log.txt").read_text()
    assert outcome(tmp_path / "out") == undisturbed(lab, cell)


def test_a_missing_file(lab: Lab, tmp_path: Path, undisturbed: Callable[..., Any]) -> None:
    cell, (_, newest) = killed_after_step_7(lab, tmp_path / "out")
    (newest / "state.safetensors").unlink()
    assert lab.train(cell, tmp_path / "out") == 0
    assert outcome(tmp_path / "out") == undisturbed(lab, cell)
