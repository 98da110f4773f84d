"""Whole cells whose ranks grow: what the record says, what was saved, an interruption around a growth."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.small_cells import Lab, Moment, outcome, record_of

from bench.config.cell import Cell
from bench.config.rank_rules import Growth
from bench.errors import EXIT_TRY_AGAIN

HELD_OUT = 12
GROWTH = Growth(start_rank=1, ranks=1, checks=4, until=0.7, patience=1, margin=0.5, warmup=2)  # hardly ever "better"


def _cell(lab: Lab, method: str) -> Cell:
    cell = lab.cell(method, rank=3, rows=48 + HELD_OUT, holdout_rows=HELD_OUT)
    return lab.prepare(cell.model_copy(update={"method": cell.method.model_copy(update={"growth": GROWTH})}))


def _curve(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "curve.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("method", ["plateau", "growth_random", "increlora", "increlora_reserve"])
def test_the_record_says_when_ranks_grew_and_why(lab: Lab, tmp_path: Path, method: str) -> None:
    out = tmp_path / "out"
    assert lab.train(_cell(lab, method), out) == 0, (tmp_path / "log.txt").read_text()
    record, curve = record_of(out), _curve(out)
    assert record.training is not None
    assert record.parameters is not None
    growths = record.training.growths
    assert growths
    assert all(growth.reason for growth in growths)
    assert [(g.step, g.ranks) for g in growths] == [
        (line["step"], sum(line["live_ranks"])) for line in curve if "live_ranks" in line and line["step"] > 1
    ]
    use = record.parameters.budget
    assert use.used == growths[-1].ranks == sum(rank.end for rank in record.ranks.values()) <= use.limit
    assert {rank.start for rank in record.ranks.values()} == {1}
    assert record.parameters.adapter_start < record.parameters.adapter_end
    watched = [line["step"] for line in curve if "held_out_loss" in line]
    assert bool(watched) == (method == "plateau")
    if method == "plateau":
        assert all(growth.loss is not None and growth.step in watched for growth in growths)
    assert record.training.rows == 3 * 48  # what is held out is not trained on


@pytest.mark.parametrize("method", ["plateau", "increlora"])
@pytest.mark.parametrize("step", [4, 5, 9])
def test_interrupted_around_a_growth(lab: Lab, tmp_path: Path, method: str, step: int) -> None:
    cell = _cell(lab, method)
    whole, out = tmp_path / "whole" / "out", tmp_path / "parts" / "out"
    assert lab.train(cell, whole) == 0
    assert lab.train(cell, out, Moment("step", step), every=None) == EXIT_TRY_AGAIN
    assert lab.train(cell, out) == 0
    assert outcome(out) == outcome(whole)


def test_a_held_out_row_is_the_same_for_every_method(lab: Lab, tmp_path: Path) -> None:
    """LoRA beside it trains on the same rows: as many steps, and its curve begins with the same loss."""
    firsts = []
    for method in ("plateau", "lora"):
        cell = lab.cell(method, rank=3, rows=48 + HELD_OUT, holdout_rows=HELD_OUT)
        out = tmp_path / method / "out"
        assert lab.train(lab.prepare(cell), out) == 0
        firsts.append(_curve(out)[0]["loss"])
        assert record_of(out).training.rows == 3 * 48  # type: ignore[union-attr]
    assert firsts[0] == pytest.approx(firsts[1], rel=1e-6)
