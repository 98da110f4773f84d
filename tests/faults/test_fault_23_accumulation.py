"""Fault 23: accumulation counts optimizer steps and gives the unaccumulated run's result within rounding."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.small_cells import Lab, record_of, without_dropout


@pytest.mark.parametrize("kind", ["classification", "summarization"])
def test_equal_within_rounding(lab: Lab, summaries: Lab, tmp_path: Path, kind: str) -> None:
    """Rows of unequal length, a last batch of 5 of 12 rows: every micro-batch weighs what it should."""
    place = without_dropout(lab if kind == "classification" else summaries, tmp_path / "model")
    curves = {}
    for parts in (1, 3, 4):
        cell = place.prepare(place.cell("adalora", rows=41, accumulation=parts, head_dropout=0.0))
        out = tmp_path / f"out{parts}"
        assert place.train(cell, out, every=None) == 0, (tmp_path / "log.txt").read_text()
        curves[parts] = [json.loads(line) for line in (out / "curve.jsonl").read_text().splitlines()]
        training = record_of(out).training
        assert training is not None
        assert (training.steps, len(curves[parts]), training.rows) == (12, 12, 3 * 41)
    for parts in (3, 4):
        for whole, accumulated in zip(curves[1], curves[parts], strict=True):
            assert accumulated["loss"] == pytest.approx(whole["loss"], rel=2e-4)
            assert accumulated["budget"] == whole["budget"]
            assert accumulated["regularizer"] == pytest.approx(whole["regularizer"], rel=2e-4)
