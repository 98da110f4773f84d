"""The demo's own encoder, interrupted by a signal and killed: the same bits."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.small_cells import Lab, Moment, outcome

from bench.config.resolve import load_study
from bench.errors import EXIT_TRY_AGAIN


@pytest.mark.long
def test_an_interrupted_demo_cell(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "cache", tmp_path, "classification")
    demo = load_study("demo", ["recipe.max_steps=10", "limits.train_rows=160", "limits.evaluation_rows=32"])
    cell = lab.prepare(demo.find("cola", "qlora_adalora", "small", 0))
    calm = replace(lab, cache=tmp_path / "cache")
    assert calm.train(cell, tmp_path / "calm", every=None) == 0, (tmp_path / "log.txt").read_text()
    assert lab.train(cell, tmp_path / "out", Moment("step", 3), every=None) == EXIT_TRY_AGAIN
    assert lab.train(cell, tmp_path / "out", Moment("step", 5, signal.SIGKILL)) == -signal.SIGKILL
    assert lab.train(cell, tmp_path / "out") == 0
    assert outcome(tmp_path / "out") == outcome(tmp_path / "calm")
