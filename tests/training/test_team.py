"""A cell in several processes: what one process would have found, and nothing lost when one of them goes."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from helpers.small_cells import METHODS, Lab, Moment, outcome, record_of, run_out_of_memory, without_dropout

from bench.config.cell import Cell
from bench.errors import EXIT_TRY_AGAIN

STOPPED = [EXIT_TRY_AGAIN, EXIT_TRY_AGAIN]


def curve(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "curve.jsonl").read_text().splitlines()]


@pytest.fixture
def together(lab: Lab, tmp_path: Path) -> Callable[[Cell], dict[str, Any]]:
    """The outcome of a cell whose processes nothing disturbs."""

    def run(cell: Cell) -> dict[str, Any]:
        out = tmp_path / "undisturbed" / "out"
        assert lab.train_together(cell, out, every=None) == [0, 0]
        return outcome(out)

    return run


@pytest.mark.parametrize(
    ("kind", "method"),
    [*(("classification", m) for m in METHODS), ("summarization", "adalora"), ("question-answering", "lora")],
)
def test_as_one_process_with_as_many_micro_batches(
    lab: Lab, summaries: Lab, questions: Lab, tmp_path: Path, kind: str, method: str
) -> None:
    """Rows of unequal length, a last batch of 1 row of 12: one of two processes has none of it."""
    labs = {place.kind: place for place in (lab, summaries, questions)}
    place = without_dropout(labs[kind], tmp_path / "model")
    alone, both = (
        place.prepare(place.cell(method, rows=37, head_dropout=0.0, **parts))
        for parts in ({"accumulation": 2}, {"processes": 2})
    )
    assert place.train(alone, tmp_path / "alone", every=None) == 0
    assert place.train_together(both, tmp_path / "both", every=None) == [0, 0]
    for one, two in zip(curve(tmp_path / "alone"), curve(tmp_path / "both"), strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=2e-4)
        assert two["gradient_norm"] == pytest.approx(one["gradient_norm"], rel=2e-3)
        assert (two["budget"], two.get("live_ranks")) == (one["budget"], one.get("live_ranks"))
    expected, found = record_of(tmp_path / "alone"), record_of(tmp_path / "both")
    assert found.cell.spec_hash != expected.cell.spec_hash  # the bits are others
    assert found.initial_adapter_sha256 == expected.initial_adapter_sha256
    assert found.training.rows == expected.training.rows
    assert found.training.tokens == expected.training.tokens
    assert found.parameters == expected.parameters
    assert found.ranks == expected.ranks
    for split, loss in expected.loss.items():
        assert found.loss[split] == pytest.approx(loss, rel=1e-3)
    one, two = (pd.read_parquet(tmp_path / name / "predictions.parquet") for name in ("alone", "both"))
    assert two[["split", "row", "reference"]].equals(one[["split", "row", "reference"]])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("struck", [0, 1])
def test_one_of_them_is_stopped_or_killed(
    lab: Lab, tmp_path: Path, together: Callable[[Cell], dict[str, Any]], struck: int, number: int
) -> None:
    cell, out = lab.prepare(lab.cell("adalora", processes=2)), tmp_path / "out"
    codes = lab.train_together(cell, out, Moment("step", 6, number), struck=struck)
    assert codes[1 - struck] == EXIT_TRY_AGAIN
    assert codes[struck] == (EXIT_TRY_AGAIN if number == signal.SIGTERM else -signal.SIGKILL)
    assert not (out / "record.json").exists()
    assert lab.train_together(cell, out) == [0, 0]
    assert record_of(out).training.resumed_at == ((6,) if number == signal.SIGTERM else (5,))
    assert outcome(out) == together(cell)


def test_stopped_in_the_evaluation(lab: Lab, tmp_path: Path, together: Callable[[Cell], dict[str, Any]]) -> None:
    cell, out = lab.prepare(lab.cell("qlora_adalora", processes=2, evaluation_batch_size=2)), tmp_path / "out"
    assert lab.train_together(cell, out, Moment("evaluation", 1), every=None) == STOPPED
    assert lab.train_together(cell, out) == [0, 0]
    assert record_of(out).training.resumed_at == (12,)
    assert outcome(out) == together(cell)


def test_held_out_rows_decide_alike_in_all(lab: Lab, tmp_path: Path) -> None:
    """The plateau grows ranks by the loss on held-out rows, and the best step is chosen by it."""
    place = without_dropout(lab, tmp_path / "model")
    outs = {}
    for name, parts in (("alone", {"accumulation": 2}), ("both", {"processes": 2})):
        cell = place.cell("plateau", rank=4, holdout_rows=11, head_dropout=0.0, rank_schedule=None, **parts)
        cell = place.prepare(cell.model_copy(update={"selection": "best"}))
        outs[name] = tmp_path / name
        if name == "alone":
            assert place.train(cell, outs[name], every=None) == 0
        else:
            assert place.train_together(cell, outs[name], every=None) == [0, 0]
    alone, both = (record_of(out).training for out in outs.values())
    assert both.selected_step == alone.selected_step
    assert [(g.step, g.ranks) for g in both.growths] == [(g.step, g.ranks) for g in alone.growths]
    held = [[line["held_out_loss"] for line in curve(out) if "held_out_loss" in line] for out in outs.values()]
    assert held[1] == pytest.approx(held[0], rel=1e-3)
    assert held[0]


def test_a_diverged_loss_is_one_record(lab: Lab, tmp_path: Path) -> None:
    cell = lab.prepare(lab.cell("lora", processes=2, learning_rate=1e30, gradient_clip=None))
    assert lab.train_together(cell, tmp_path / "out") == [0, 0]
    record = record_of(tmp_path / "out")
    assert record.status == "diverged"
    assert record.training.failed_step is not None


def test_memory_that_runs_out_in_one_of_them_is_recorded(lab: Lab, tmp_path: Path) -> None:
    cell = lab.prepare(lab.cell("lora", processes=2))
    codes = lab.train_together(cell, tmp_path / "out", before=run_out_of_memory)
    assert codes == [EXIT_TRY_AGAIN, 0]  # the one that can tell has told
    record = record_of(tmp_path / "out")
    assert record.status == "oom"
    assert record.bytes.peak.peak > 0
