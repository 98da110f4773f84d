"""A study resolves to its cells. The hash of a cell depends on what decides its result and on nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.config.cell import Cell, spec_hash_of
from bench.config.resolve import load_study
from bench.errors import BenchError, SpecError

Spoil = Callable[[str, str, str], Path]


def hashes(folder: Path, *overrides: str) -> dict[str, str]:
    return {cell.id: cell.spec_hash for cell in load_study("s", overrides, folder).cells}


def test_the_grid_is_the_product_in_the_order_of_the_file(workflow: Path) -> None:
    cells = load_study("s", (), workflow).cells
    assert len(cells) == 2 * 2 * 2 * 2
    assert cells[0].id == "cola/lora/small/seed-0"
    assert cells[-1].id == "sst2/adalora/large/seed-1"
    assert len({cell.spec_hash for cell in cells}) == len(cells)


def test_precedence_is_task_then_study_then_command_line(workflow: Path, spoil: Spoil) -> None:
    assert load_study("s", (), workflow).cells[0].recipe.learning_rate == 5e-4
    spoil("studies/s.yaml", "seeds:", "recipe: {learning_rate: 1e-3, epochs: 2}\nseeds:")
    cell = load_study("s", (), workflow).cells[0]
    assert (cell.recipe.learning_rate, cell.recipe.epochs, cell.recipe.batch_size) == (1e-3, 2, 32)
    assert load_study("s", ["recipe.learning_rate=2e-3"], workflow).cells[0].recipe.learning_rate == 2e-3


def test_an_override_for_one_task_leaves_the_others(workflow: Path, spoil: Spoil) -> None:
    before = hashes(workflow)
    spoil("studies/s.yaml", "seeds:", "overrides:\n  sst2: {recipe: {learning_rate: 1e-3}}\nseeds:")
    after = hashes(workflow)
    assert {cell for cell in before if before[cell] != after[cell]} == {c for c in before if c.startswith("sst2/")}


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("tasks/cola.yaml", "name: cola", "# a comment\nname: cola\ndescription: changed"),
        ("methods/lora.yaml", "label: LoRA", "label: Low rank"),
        ("studies/s.yaml", "name: s", "name: s\ndescription: changed\nresources: {mem_mb: 9}"),
    ],
)
def test_descriptions_do_not_change_the_hash(workflow: Path, spoil: Spoil, file: str, old: str, new: str) -> None:
    before = hashes(workflow)
    spoil(file, old, new)
    assert hashes(workflow) == before


def test_the_identity_depends_on_the_data(workflow: Path) -> None:
    cell = load_study("s", (), workflow).cells[0]
    assert cell.identity("a") != cell.identity("b")
    assert cell.identity("a") == cell.identity("a")


def test_the_same_cell_twice_is_refused_with_both_sources(spoil: Spoil) -> None:
    folder = spoil("studies/s.yaml", "seeds: [0, 1]", "seeds: [0]\ngrids:\n- {tasks: [cola]}\n- {methods: [lora]}")
    with pytest.raises(SpecError, match=r"s\.yaml:12:.*cola/lora/small/seed-0 stands twice: grids\[0\] and grids\[1\]"):
        load_study("s", (), folder)


def test_find_names_the_nearest(workflow: Path) -> None:
    study = load_study("s", (), workflow)
    assert study.find("cola", "adalora", "small", 1).id == "cola/adalora/small/seed-1"
    with pytest.raises(BenchError, match=r"no cell with method 'adalor' .did you mean 'adalora'"):
        study.find("cola", "adalor", "small", 1)


def test_a_shortened_training_keeps_the_fractions_of_its_schedule(spoil: Spoil) -> None:
    folder = spoil(
        "tasks/cola.yaml",
        "batch_size: 32",
        "batch_size: 32, reference_steps: 6700, warmup_steps: 100, "
        "rank_schedule: {initial_steps: 800, final_steps: 3500, interval: 10}",
    )
    recipe = load_study("s", (), folder).cells[0].recipe
    assert recipe.total_steps(8551) == 6700
    full = recipe.rank_schedule_at(6700)
    assert (full.initial_steps, full.final_steps, full.interval, recipe.warmup_at(6700)) == (800, 3500, 10, 100)
    tenth = recipe.rank_schedule_at(670)
    assert (tenth.initial_steps, tenth.final_steps, tenth.interval, recipe.warmup_at(670)) == (80, 350, 1, 10)


def test_cells_whose_results_were_corrected_run_again_and_no_others() -> None:
    """DeBERTa's head dropout, which the paper's recipes set; every base in 4 bits; of the demo no other cell."""

    def corrected(*overrides: str, study: str = "demo") -> list[Cell]:
        cells = load_study(study, list(overrides)).cells
        return [cell for cell in cells if cell.spec_hash != spec_hash_of(cell.model_dump(mode="json"))]

    quantized = {"qlora", "qlora_adalora"}
    assert {cell.method.name for cell in corrected()} == quantized
    of_paper = [cell for cell in corrected(study="paper") if cell.method.name not in quantized]
    assert {cell.task.name for cell in of_paper} == {"mnli", "sst2", "cola", "qnli"}
    dropout = corrected("recipe.adapter_dropout=0.1", "tasks=[sst2]")
    assert {cell.method.name for cell in dropout} == {*quantized, "adalora"}
    numbers = {cell.task.name for cell in corrected(study="decoders-full") if cell.method.name not in quantized}
    assert numbers == {"gsm8k"}, "10-3 ends in 3: answers by log-likelihood are the same as before"
