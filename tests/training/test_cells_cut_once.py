"""Whole cells whose ranks are cut once: budgets of steps, the record, what was saved, an interruption at the cut."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.small_cells import Lab, Moment, outcome, record_of
from helpers.toy_models import adapted, batches, cell_of, loss_of, sites_of

from bench.config.cell import Cell
from bench.config.rank_schedule import schedule_of
from bench.errors import EXIT_TRY_AGAIN
from bench.models.core import build_core
from bench.training.record_parts import budget_use

CUTS = {"truncated": 8, "truncated_end": 12, "sora": 8}  # of 12 steps; AdaLoRA freezes at step 8
SHAPES = [(6, 10), (12, 4), (16, 40)]


def _cell(lab: Lab, method: str, **changes: object) -> Cell:
    cell = lab.cell(method, learning_rate=0.05)
    return lab.prepare(cell.model_copy(update={"method": cell.method.model_copy(update={"unit": "ranks", **changes})}))


def _curve(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "curve.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("storage", ["fp32", "nf4"])
@pytest.mark.parametrize("method", CUTS)
def test_the_record_proves_the_cap_and_the_curve_shows_one_cut(
    lab: Lab, tmp_path: Path, method: str, storage: str
) -> None:
    out = tmp_path / "out"
    assert lab.train(_cell(lab, method, storage=storage), out) == 0, (tmp_path / "log.txt").read_text()
    record, curve = record_of(out), _curve(out)
    assert record.parameters is not None
    use, sites = record.parameters.budget, len(record.ranks)
    assert (use.unit, use.limit) == ("ranks", 2 * sites)
    assert use.used == sum(rank.end for rank in record.ranks.values()) == use.limit
    assert {rank.start for rank in record.ranks.values()} == {3}
    assert [line["budget"] for line in curve] == [
        3 * sites if line["step"] < CUTS[method] else 2 * sites for line in curve
    ]
    lives = {line["step"]: sum(line["live_ranks"]) for line in curve if "live_ranks" in line}
    assert lives == {1: 3 * sites, CUTS[method]: 2 * sites}
    config = json.loads((out / "adapter" / "adapter_config.json").read_text())
    assert config["peft_type"] == ("ADALORA" if method == "sora" else "LORA")


@pytest.mark.parametrize("method", CUTS)
def test_interrupted_around_the_cut(lab: Lab, tmp_path: Path, method: str) -> None:
    cell, whole = _cell(lab, method), tmp_path / "whole" / "out"
    assert lab.train(cell, whole) == 0
    for step in (3, CUTS[method] - 1, CUTS[method]):
        out = tmp_path / f"parts-{step}" / "out"
        assert lab.train(cell, out, Moment("step", step), every=None) == EXIT_TRY_AGAIN
        assert lab.train(cell, out) == 0
        assert outcome(out) == outcome(whole)


def test_only_steps_within_the_budget_can_be_the_best(lab: Lab, tmp_path: Path) -> None:
    for method, checks in {"truncated": [8, 10, 12], "truncated_end": [12]}.items():
        cell = lab.cell(method, rows=60, holdout_rows=12, validations=6)
        out = tmp_path / method / "out"
        assert lab.train(lab.prepare(cell.model_copy(update={"selection": "best"})), out) == 0
        assert [line["step"] for line in _curve(out) if "held_out_loss" in line] == checks
        use = record_of(out).parameters
        assert use is not None
        assert use.budget.used <= use.budget.limit


@pytest.mark.parametrize("unit", ["ranks", "parameters"])
@pytest.mark.parametrize(
    ("allocator", "adapter"),
    [("truncated", "lora"), ("truncated", "adalora"), ("truncated_end", "lora"), ("sora", "adalora")],
)
def test_the_budget_of_every_step_is_what_lives(allocator: str, adapter: str, unit: str) -> None:
    """A trial that stops before the cut is within the budget of its step."""
    cell = cell_of(adapter=adapter, allocator=allocator, rank=2.5, method={"unit": unit}, epochs=2)
    schedule = schedule_of(cell, 320, SHAPES)
    model = adapted(SHAPES, 4, schedule, svd=adapter == "adalora")
    core = build_core(model, sites_of(SHAPES), cell, schedule)
    used = []
    for _, batch in zip(range(schedule.total_steps), batches(0, 8, 16), strict=False):
        core.accumulate(loss_of(model, batch))
        report = core.step()
        use = budget_use(core, cell, 0)
        assert use.used <= use.limit == report.budget
        used.append(use.used)
    cut = schedule.total_steps if allocator == "truncated_end" else schedule.freezes_at
    assert set(used[: cut - 1]) == {schedule.initial_budget}
    assert len(set(used[cut - 1 :])) == 1
