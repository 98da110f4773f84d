"""What is planned for a cell is what its record says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.small_cells import Lab, record_of

from bench.config.cell import Cell
from bench.config.rank_schedule import schedule_of
from bench.config.resolve import ResolvedStudy, load_study
from bench.engine.allocators.names import ALLOCATORS, AllocatorFacts
from bench.errors import BenchError
from bench.estimate.memory import declared_batch, predict_peak
from bench.estimate.parameters import predict_parameters
from bench.estimate.plan import plan
from bench.records.schema import Bytes


def _cell(lab: Lab, method: str, matrices: list[str]) -> Cell:
    """A cell on the lab's model. The backbone's file holds its config, and all adapted matrices are of one size."""
    cell = lab.cell(method, rank=4)
    config = json.loads((lab.model / "config.json").read_text())
    backbone = cell.backbone.model_copy(update={"config": config, "matrices": matrices})
    return lab.prepare(cell.model_copy(update={"backbone": backbone}))


def _recorded(lab: Lab, cell: Cell, out: Path) -> Bytes:
    assert lab.train(cell, out, every=None) == 0
    recorded = record_of(out).bytes
    assert recorded is not None
    return recorded


@pytest.mark.parametrize(
    ("method", "bytes_per_parameter"),
    [
        ("lora", 0),
        ("svd_lora", 0),
        ("adalora", 8),
        ("adalora_sensitivity", 4),
        ("adalora_magnitude", 0),
        ("increlora", 8),
        ("truncated", 0),
        ("truncated_end", 0),
        ("sora", 0),
        ("snr", 0),
        ("salientlora", 0),
        ("elalora", 8),
        ("l1ra", 0),
    ],
)
def test_bytes_of_training(lab: Lab, tmp_path: Path, method: str, bytes_per_parameter: int) -> None:
    cell = _cell(lab, method, ["query"])
    recorded, planned = _recorded(lab, cell, tmp_path / "out"), predict_parameters(cell)
    assert (planned.gradients, planned.optimizer) == (recorded.gradients, recorded.optimizer)
    assert planned.importance == recorded.importance
    largest_adapter = planned.adapter_end[1] if cell.method.grows else planned.adapter_start
    assert planned.importance == bytes_per_parameter * largest_adapter


@pytest.mark.parametrize("method", ["qlora_adalora", "increlora", "rslora", "full"])
def test_bytes_of_moments_in_8_bits(lab: Lab, tmp_path: Path, method: str) -> None:
    cell = _cell(lab, method, ["query"])
    cell = cell.model_copy(update={"recipe": cell.recipe.model_copy(update={"optimizer": "adamw8bit"})})
    recorded, planned = _recorded(lab, cell, tmp_path / "out"), predict_parameters(cell)
    assert (planned.gradients, planned.optimizer) == (recorded.gradients, recorded.optimizer)
    assert planned.optimizer < 2 * planned.gradients


@pytest.mark.parametrize("method", ["lora", "lora_bf16", "qlora"])
def test_bytes_of_a_base_with_buffers_of_fractions(summaries: Lab, tmp_path: Path, method: str) -> None:
    cell = _cell(summaries, method, ["q_proj"])
    recorded, planned = _recorded(summaries, cell, tmp_path / "out"), predict_parameters(cell)
    assert planned.base == recorded.base
    assert planned.base.buffers == (1200 if method == "lora" else 600)  # a bias of the 300 words' logits


def test_an_allocator_that_prunes_without_importance_keeps_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ALLOCATORS, "shortest", AllocatorFacts("adalora:adalora", "pruned"))
    cell = load_study("demo").find("sst2", "adalora", "small", 0)
    other = cell.model_copy(update={"method": cell.method.model_copy(update={"allocator": "shortest"})})
    planned, published = predict_parameters(other), predict_parameters(cell)
    assert planned.adapter_start == published.adapter_start
    assert (planned.importance, published.importance) == (0, 8 * published.adapter_start)


def test_a_cap_in_parameters_is_planned_in_parameters() -> None:
    budget = "budgets={equal: {parameters: 77777}}"
    rows = plan(load_study("modules", [budget, "methods=[lora, adalora_parameters]"]))
    per_rank = 41_472  # of MiniLM's 36 matrices
    found = [(row["budget"]["unit"], row["budget"]["limit"], row["budget"]["used_at_most"]) for row in rows]
    assert found == [("parameters", 77_777, per_rank), ("parameters", 77_777, 77_777)]


@pytest.mark.parametrize("method", ["truncated", "truncated_end", "sora"])
def test_what_an_allocator_does_with_ranks_leaves_the_peak_to_its_layers(method: str) -> None:
    fixed = "svd_lora" if method == "sora" else "lora"
    study = load_study("demo", [f"methods=[{method}, {fixed}]", "recipe_from=null", "tasks=[sst2]", "overrides={}"])
    peaks = []
    for name, rank in ((method, 2), (fixed, 4)):  # from rank 4 to rank 2, and rank 4 throughout
        cell = study.find("sst2", name, "small", 0)
        cell = cell.model_copy(update={"budget": cell.budget.model_copy(update={"rank": rank})})
        peaks.append(predict_peak(cell, predict_parameters(cell), declared_batch(cell), "cpu").growth)
    assert peaks[0] == peaks[1]


def _study(held_out: int) -> ResolvedStudy:
    recipe = ["recipe.epochs=2", "recipe.max_steps=null", "recipe.batch_size=32", f"recipe.holdout_rows={held_out}"]
    study = load_study("demo", [*recipe, "limits.train_rows=72", "overrides={}"])
    return replace(study, cells=(study.find("sst2", "lora", "small", 0),))


def test_rows_held_out_are_not_trained_on(lab: Lab, tmp_path: Path) -> None:
    """Of 72 rows, 24 are trained on."""
    study = _study(48)
    (cell,) = study.cells
    (declared,) = plan(study, results=tmp_path, cache=lab.cache)
    lab.prepare(cell)
    (prepared,) = plan(study, results=tmp_path, cache=lab.cache)
    assert (declared["batch"]["from"], prepared["batch"]["from"]) == ("recipe", "prepared data")
    assert declared["steps"] == prepared["steps"] == schedule_of(cell, 72, [(8, 8)]).total_steps == 2
    assert prepared["batch"]["rows"] == 24


def test_where_every_prepared_row_is_held_out_nothing_is_planned(lab: Lab, tmp_path: Path) -> None:
    study = _study(48)
    (cell,) = study.cells
    cell = cell.model_copy(update={"recipe": cell.recipe.model_copy(update={"holdout_rows": 72})})
    undeclared = cell.task.data.model_copy(update={"rows": {}})  # the task's file says nothing of rows
    cell = lab.prepare(cell.model_copy(update={"task": cell.task.model_copy(update={"data": undeclared})}))
    with pytest.raises(BenchError, match="72 rows held out of 72 leave none"):
        plan(replace(study, cells=(cell,)), results=tmp_path, cache=lab.cache)
