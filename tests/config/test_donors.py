"""Whose ranks a cell takes over, and what makes that impossible."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench.config.catalog import WORKFLOW
from bench.config.cell import GivenRanks
from bench.config.resolve import ResolvedStudy, load_study
from bench.errors import SpecError

LISTS = (
    "methods=[lora, adalora_parameters, replayed, transplanted, transplanted_seed, random_pattern]",
    "budgets={small: {rank: 2, initial_rank: 4}, large: {rank: 8}}",
    "seeds=[3, 5, 9]",
    "recipe_from=null",
)


def study(*overrides: str) -> ResolvedStudy:
    return load_study("demo", ["tasks=[cola, sst2, cnn_dailymail, qnli]", *LISTS, *overrides])


@pytest.mark.parametrize(
    ("method", "task", "seed", "donor"),
    [
        ("replayed", "sst2", 5, "sst2/adalora_parameters/small/seed-5"),
        ("transplanted", "cola", 3, "sst2/adalora_parameters/small/seed-3"),
        ("transplanted", "sst2", 3, "qnli/adalora_parameters/small/seed-3"),  # cnn_dailymail has another backbone
        ("transplanted", "qnli", 3, "cola/adalora_parameters/small/seed-3"),
        ("transplanted_seed", "qnli", 3, "qnli/adalora_parameters/small/seed-5"),
        ("transplanted_seed", "qnli", 9, "qnli/adalora_parameters/small/seed-3"),
    ],
)
def test_a_donor_is_the_cell_that_the_method_names(method: str, task: str, seed: int, donor: str) -> None:
    found = study("tasks=[cola, sst2, qnli]")
    of_cell = found.donor(found.find(task, method, "small", seed))
    assert of_cell is not None
    assert of_cell.id == donor


def test_other_cells_have_none_and_await_nothing() -> None:
    found = study("tasks=[cola, sst2]")
    for cell in found.cells:
        awaits = cell.method.name in ("replayed", "transplanted", "transplanted_seed")
        assert found.awaits_ranks(cell) == found.awaits(cell) == awaits


def test_the_ranks_and_not_their_origin_decide_a_cell() -> None:
    cell = study("tasks=[cola, sst2]").find("cola", "replayed", "small", 3)

    def spec_hash(**given: object) -> str:
        fields = {"cell": "a", "hash": "1", "ranks": {"x": 1, "y": 2}, **given}
        return cell.model_copy(update={"given": GivenRanks.model_validate(fields)}).spec_hash

    assert spec_hash() == spec_hash(cell="b", hash="2") != cell.spec_hash
    assert spec_hash() != spec_hash(ranks={"x": 2, "y": 1})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("methods=[lora, replayed]",), "needs the cell cola/adalora_parameters/small/seed-3"),
        (("methods=[adalora_parameters, transplanted_seed]", "seeds=[3]"), "and of a second seed beside it"),
        (("methods=[adalora_parameters, transplanted]", "tasks=[cola]"), "and of a second task beside it"),
    ],
)
def test_a_study_without_the_donor_is_refused(changes: tuple[str, ...], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        study("tasks=[cola, sst2]", *changes)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "source: adalora_parameters",
            "source: adalora_parameter",
            "there is no method 'adalora_parameter'.*adalora_parameters",
        ),
        ("source: adalora_parameters", "source: lora", "'lora' learns no ranks: its allocator is fixed"),
        ("source: adalora_parameters", "source: adalora", "its unit is parameters, not ranks"),
        ("unit: parameters", "unit: parameters\nrecipe: {learning_rate: 0.1}", "no recipe of its own"),
        ("{source: adalora_parameters}", "{source: adalora_parameters, draw: random}", "exactly one of source, draw"),
        ("{source: adalora_parameters}", "{draw: random, shuffle: true}", "cell and shuffle need a source"),
        ("pattern: {source: adalora_parameters}", "", "the block `pattern` go together"),
    ],
)
def test_a_method_that_cannot_take_over_ranks_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    workflow = shutil.copytree(WORKFLOW, tmp_path / "workflow")
    file = workflow / "methods" / "replayed.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    names = ["tasks=[cola]", "methods=[lora, adalora, adalora_parameters, replayed]", *LISTS[1:]]
    with pytest.raises(SpecError, match=message):
        load_study("demo", names, workflow)


@pytest.mark.parametrize("halving", ["", ", halving: 2"])
def test_what_takes_over_ranks_is_trained_with_the_values_of_its_source(halving: str) -> None:
    """Its trials are those of the source: it has none of its own."""
    tuning = f"tuning={{space: {{learning_rate: [0.001, 0.002]}}, seeds: [100], holdout_rows: 40{halving}}}"
    found = study("tasks=[cola, sst2]", tuning)
    assert {trial.trial.halving is not None for trials in found.trials.values() for trial in trials} == {bool(halving)}
    assert not [group for group in found.trials if "replayed" in group or "transplanted" in group]
    cell = found.find("cola", "transplanted", "small", 3)
    assert cell.tuned_group == "cola/adalora_parameters/small"
    assert found.awaits_choice(cell)
