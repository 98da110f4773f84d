"""With `score_epochs` and held-out rows, the curve tells one epoch from another, and nothing else changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.small_cells import Lab, Moment, outcome, record_of

from bench.config.cell import Cell
from bench.errors import EXIT_TRY_AGAIN


def _cell(lab: Lab, method: str, **recipe: Any) -> Cell:
    """11 steps, four an epoch, so that the last step ends none; AdaLoRA's ranks are frozen at step 7."""
    return lab.prepare(lab.cell(method, rows=60, **{"holdout_rows": 12, "epochs": 2.75, **recipe}))


def _curve(out: Path, key: str) -> dict[int, Any]:
    lines = [json.loads(line) for line in (out / "curve.jsonl").read_text().splitlines()]
    return {line["step"]: line[key] for line in lines if key in line}


@pytest.mark.parametrize("method", ["lora", "adalora"])
def test_held_out_losses_of_epochs_change_no_bit_of_the_training(lab: Lab, tmp_path: Path, method: str) -> None:
    watched, plain = tmp_path / "watched" / "out", tmp_path / "plain" / "out"
    assert lab.train(_cell(lab, method, score_epochs=True), watched) == 0
    assert lab.train(_cell(lab, method), plain) == 0
    assert sorted(_curve(watched, "scores")) == [4, 8]
    assert sorted(_curve(watched, "held_out_loss")) == [4, 8, 11]
    assert _curve(plain, "held_out_loss") == {}
    for key in ("loss", "gradient_norm", "live_ranks", "budget"):
        assert _curve(watched, key) == _curve(plain, key)
    files = [{n: h for n, h in outcome(out)["files"].items() if n != "curve.jsonl"} for out in (watched, plain)]
    assert files[0] == files[1]
    assert len(files[0]) > 1
    assert record_of(watched).metrics == record_of(plain).metrics


def test_they_are_the_losses_that_choose_a_best_step(lab: Lab, tmp_path: Path) -> None:
    """Those of AdaLoRA at steps 8 and 11, at which its ranks are frozen."""
    epochs, best = tmp_path / "epochs" / "out", tmp_path / "best" / "out"
    chosen = _cell(lab, "adalora", score_epochs=True, validations=11).model_copy(update={"selection": "best"})
    assert lab.train(_cell(lab, "adalora", score_epochs=True), epochs) == 0
    assert lab.train(chosen, best) == 0
    losses, all_losses = _curve(epochs, "held_out_loss"), _curve(best, "held_out_loss")
    assert sorted(all_losses) == [7, 8, 9, 10, 11]  # none but its own
    assert {step: losses[step] for step in (8, 11)} == {step: all_losses[step] for step in (8, 11)}


def test_interrupted_between_epochs(lab: Lab, tmp_path: Path) -> None:
    cell = _cell(lab, "adalora", score_epochs=True)
    whole, parts = tmp_path / "whole" / "out", tmp_path / "parts" / "out"
    assert lab.train(cell, whole) == 0
    assert lab.train(cell, parts, Moment("step", 6), every=None) == EXIT_TRY_AGAIN
    assert lab.train(cell, parts) == 0
    assert outcome(parts) == outcome(whole)
