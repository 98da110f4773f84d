"""`selection: best` reports the step of the lowest loss on held-out rows, and keeps the last one's scores beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from helpers.small_cells import Lab, Moment, outcome, record_of

from bench.config.cell import Cell
from bench.config.rank_schedule import schedule_of
from bench.errors import EXIT_TRY_AGAIN, BenchError
from bench.evaluation.metrics import score


def _cell(lab: Lab, method: str, selection: str = "best") -> Cell:
    """Twelve steps at a learning rate that does harm in the end."""
    cell = lab.cell(method, rows=60, holdout_rows=12, validations=6, learning_rate=0.05, decay="constant")
    return lab.prepare(cell.model_copy(update={"selection": selection}))


def _curve(out: Path, key: str) -> dict[int, float]:
    lines = [json.loads(line) for line in (out / "curve.jsonl").read_text().splitlines()]
    return {line["step"]: line[key] for line in lines if key in line}


@pytest.mark.parametrize("method", ["lora", "adalora", "qlora", "full"])
def test_the_best_step_is_reported_and_the_last_recorded(lab: Lab, tmp_path: Path, method: str) -> None:
    out, plain = tmp_path / "best" / "out", tmp_path / "last" / "out"
    assert lab.train(_cell(lab, method), out) == 0, (out.parent / "log.txt").read_text()
    assert lab.train(_cell(lab, method, "last"), plain) == 0
    record, last, losses = record_of(out), record_of(plain), _curve(out, "held_out_loss")
    assert _curve(out, "loss") == _curve(plain, "loss")  # to watch changes nothing of what is trained
    assert record.training is not None
    assert record.training.selected_step == min(losses, key=lambda step: (losses[step], step))
    # ranks are frozen at step 8: what is over the budget before can't be reported
    assert sorted(losses) == ([8, 10, 12] if method == "adalora" else [2, 4, 6, 8, 10, 12])
    assert {split: found["last"] for split, found in record.metrics.items()} == {
        split: found["last"] for split, found in last.metrics.items()
    }
    split = record.reported.split  # type: ignore[union-attr]
    table = pd.read_parquet(out / "predictions.parquet").query("split == @split")
    cell = _cell(lab, method)
    again = score(cell.task, table["prediction"].tolist(), table["reference"].tolist())
    assert record.metrics[split]["best"] == pytest.approx(again)
    assert record.reported.value == again[cell.task.metric]  # type: ignore[union-attr]


@pytest.mark.parametrize("stop", [Moment("step", 5), Moment("step", 11), Moment("evaluation", 1)])
def test_interrupted_with_a_best_step(lab: Lab, tmp_path: Path, stop: Moment) -> None:
    cell, whole, parts = _cell(lab, "lora"), tmp_path / "whole" / "out", tmp_path / "parts" / "out"
    assert lab.train(cell, whole) == 0
    assert lab.train(cell, parts, stop, every=None) == EXIT_TRY_AGAIN
    assert lab.train(cell, parts) == 0
    assert outcome(parts) == outcome(whole)


def test_without_held_out_rows_no_step_can_be_chosen(lab: Lab) -> None:
    cell = lab.cell("lora").model_copy(update={"selection": "best"})
    with pytest.raises(BenchError, match="holdout_rows is 0"):
        schedule_of(cell, 48, [(8, 8)])
