"""Whole cells whose ranks move: the budget is always full, the record says when, an interruption changes no bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.small_cells import Lab, Moment, outcome, record_of

from bench.config.budget import Budget
from bench.config.cell import Cell
from bench.config.rank_rules import Moving
from bench.errors import EXIT_TRY_AGAIN

PHASES = {"initial_steps": 2, "final_steps": 3, "interval": 1}


def _cell(lab: Lab) -> Cell:
    cell = lab.cell("elalora", rank=3, rows=48, rank_schedule=PHASES)
    method = cell.method.model_copy(update={"moving": Moving(times=3)})
    return lab.prepare(cell.model_copy(update={"method": method, "budget": Budget(rank=3, initial_rank=6)}))


def test_the_budget_is_full_all_the_time_and_the_record_says_when_ranks_moved(lab: Lab, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert lab.train(_cell(lab), out) == 0, (tmp_path / "log.txt").read_text()
    record = record_of(out)
    assert record.training is not None
    assert record.parameters is not None
    curve = [json.loads(line) for line in (out / "curve.jsonl").read_text().splitlines()]
    use, moves = record.parameters.budget, record.training.growths
    assert use.used == use.limit == 3 * len(record.ranks)
    assert moves
    assert {move.ranks for move in moves} == {use.limit}
    assert {sum(line["live_ranks"]) for line in curve if "live_ranks" in line} == {use.limit}
    assert {rank.start for rank in record.ranks.values()} == {3}
    ends = {rank.end for rank in record.ranks.values()}
    assert min(ends) < 3 < max(ends) <= 6


@pytest.mark.parametrize("step", [2, 5, 9])
def test_interrupted_around_a_move(lab: Lab, tmp_path: Path, step: int) -> None:
    cell = _cell(lab)
    whole, out = tmp_path / "whole" / "out", tmp_path / "parts" / "out"
    assert lab.train(cell, whole) == 0
    assert lab.train(cell, out, Moment("step", step), every=None) == EXIT_TRY_AGAIN
    assert lab.train(cell, out) == 0
    assert outcome(out) == outcome(whole)
