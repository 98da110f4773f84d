"""`bench plan --gpu-memory`: what fits on a card, and the accumulation at which everything does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.cli.app import main
from bench.config.cell import Cell
from bench.config.resolve import ResolvedStudy, load_study
from bench.errors import EXIT_BAD_INPUT, BenchError
from bench.estimate.gpu_memory import CONTEXT, PIECES, fits, parse_memory, show_fits, task_fits
from bench.estimate.memory import declared_batch, predict_peak
from bench.estimate.parameters import predict_parameters

WORDS = ["tasks=[cola, cnn_dailymail]", "methods=[lora, qlora]", "recipe.batch_size=32", "recipe.max_length=128"]


@pytest.fixture(scope="module")
def study() -> ResolvedStudy:
    return load_study("demo", WORDS)


def peak(cell: Cell, accumulation: int) -> int:
    recipe = cell.recipe.model_copy(update={"accumulation": accumulation})
    cell = cell.model_copy(update={"recipe": recipe})
    return predict_peak(cell, predict_parameters(cell), declared_batch(cell), "cuda").total


def card_for(needed: int) -> int:
    """The smallest memory on which a training of that peak fits."""
    return -int(-(PIECES * needed + CONTEXT) // 1)


def test_sizes() -> None:
    assert parse_memory("40GiB") == 40 * 2**30
    assert parse_memory(" 1.5 GB") == 1_500_000_000
    assert parse_memory("16384MiB") == 2**34
    for wrong in ("40", "40G", "GiB", "-1GiB", "0GiB", "40KiB"):
        with pytest.raises(BenchError, match="expected a size such as 40GiB"):
            parse_memory(wrong)


def test_all_methods_of_a_task_get_the_accumulation_that_the_largest_needs(
    study: ResolvedStudy, tmp_path: Path
) -> None:
    cells = [cell for cell in study.cells if cell.task.name == "cola"]
    largest = {accumulation: max(peak(cell, accumulation) for cell in cells) for accumulation in (1, 2, 4)}
    for accumulation, needed in largest.items():
        memory = card_for(needed)
        assert fits(needed, memory)
        assert not fits(needed, memory - 2)
        found = {task.task: task for task in task_fits(study, memory, results=tmp_path)}["cola"]
        assert found.accumulation == accumulation
        assert found.fitting == sum(fits(peak(cell, 1), memory) for cell in cells)
        assert (found.cells, found.peak, found.now) == (len(cells), largest[1], 1)
    said = show_fits(task_fits(study, card_for(largest[4]), results=tmp_path), card_for(largest[4]))
    assert "all fit with accumulation 4, now 1" in said
    assert "  cola: {recipe: {accumulation: 4}}" in said


def test_where_not_even_a_row_fits(study: ResolvedStudy, tmp_path: Path) -> None:
    found = task_fits(study, CONTEXT + 1, results=tmp_path)
    assert [(task.fitting, task.accumulation) for task in found] == [(0, None), (0, None)]
    assert "not even one row at a time fits" in show_fits(found, CONTEXT + 1)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", "demo", "--results", str(tmp_path)]
    for word in WORDS:
        words += ["--set", word]
    assert main([*words, "--gpu-memory", "80GiB"]) == 0
    assert "on a GPU of 80.0 GiB: 8 of 8 cells fit" in capsys.readouterr().out
    assert main([*words, "--gpu-memory", "700MiB", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["predicted_peak"]["device"] for row in rows} == {"cuda"}
    for row in rows:
        assert row["fits"] == fits(row["predicted_peak"]["total_bytes"], 700 * 2**20)
    assert len({row["accumulation_that_fits"] for row in rows if row["cell"].startswith("cola")}) == 1
    assert main([*words, "--gpu-memory", "40"]) == EXIT_BAD_INPUT
    assert main([*words, "--gpu-memory", "40GiB", "--device", "cpu"]) == EXIT_BAD_INPUT
