"""Fault 18: a loss that is not finite stops the training; the record names the step, no file holds a NaN."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.small_cells import METHODS, Lab, Moment, record_of

from bench.errors import EXIT_TRY_AGAIN


@pytest.mark.parametrize("method", METHODS)
def test_diverged_with_the_step(lab: Lab, tmp_path: Path, method: str) -> None:
    cell, out = lab.prepare(lab.cell(method, learning_rate=1e37, gradient_clip=None)), tmp_path / "out"
    assert lab.train(cell, out) == 0
    record = record_of(out)
    assert record.status == "diverged"
    assert record.training is not None
    step = record.training.failed_step
    assert step is not None
    assert f"step {step}" in str(record.message)
    curve = [json.loads(line, parse_constant=_refuse) for line in (out / "curve.jsonl").read_text().splitlines()]
    assert [line["step"] for line in curve] == list(range(1, step + 1))
    assert curve[-1]["loss"] is None
    assert all(line["loss"] is not None for line in curve[:-1])
    json.loads((out / "record.json").read_text(), parse_constant=_refuse)
    assert record.metrics == {}
    assert record.reported is None


def test_the_same_step_after_an_interruption(lab: Lab, tmp_path: Path) -> None:
    cell = lab.prepare(lab.cell("lora", learning_rate=1e37, gradient_clip=None))
    assert lab.train(cell, tmp_path / "calm") == 0
    assert lab.train(cell, tmp_path / "out", Moment("step", 1), every=None) == EXIT_TRY_AGAIN
    assert lab.train(cell, tmp_path / "out") == 0
    calm, out = record_of(tmp_path / "calm"), record_of(tmp_path / "out")
    assert (calm.status, out.status) == ("diverged", "diverged")
    assert (tmp_path / "calm" / "curve.jsonl").read_bytes() == (tmp_path / "out" / "curve.jsonl").read_bytes()


def _refuse(name: str) -> Any:
    raise AssertionError(f"{name} in JSON")
