"""The command line outranks the study, the method and the budget."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.config.recipe import Recipe
from bench.config.resolve import load_study
from bench.errors import SpecError

Spoil = Callable[[str, str, str], Path]


def recipes(study: str, *overrides: str) -> dict[str, Recipe]:
    return {cell.id: cell.recipe for cell in load_study(study, overrides).cells}


@pytest.mark.parametrize(
    ("study", "key", "value"),
    [
        ("demo", "max_steps", 7),  # that study's overrides of cnn_dailymail name it
        ("full-finetune", "learning_rate", 2e-3),  # the method full names it
        ("rank-sweep", "alpha", 3.0),  # each budget names it
    ],
)
def test_a_key_of_the_recipe_reaches_every_cell(study: str, key: str, value: float) -> None:
    before, after = recipes(study), recipes(study, f"recipe.{key}={value}")
    assert {getattr(recipe, key) for recipe in after.values()} == {value}
    for cell, recipe in before.items():  # and nothing else changes
        assert recipe.model_copy(update={key: value}) == after[cell]


def test_alpha_outranks_a_scale(spoil: Spoil) -> None:
    folder = spoil("methods/lora.yaml", "adapter: lora", "adapter: lora\nrecipe: {scale: 1}")
    for cell in load_study("s", ["recipe.alpha=4"], folder).cells:
        assert (cell.recipe.alpha, cell.recipe.scale) == (4, None)
    for cell in load_study("s", ["recipe.scale=2"], folder).cells:
        assert cell.recipe.scale == 2


def test_an_override_for_one_task_outranks_one_for_all_tasks(workflow: Path) -> None:
    study = load_study("s", ["overrides.sst2.recipe.max_steps=5", "recipe.max_steps=9"], workflow)
    assert {(cell.task.name, cell.recipe.max_steps) for cell in study.cells} == {("cola", 9), ("sst2", 5)}


def test_a_bad_value_blames_the_command_line_where_the_study_names_the_key_too(spoil: Spoil) -> None:
    folder = spoil("studies/s.yaml", "seeds:", "overrides: {cola: {recipe: {epochs: 2}}}\nseeds:")
    with pytest.raises(SpecError, match=r"^command line: recipe\.epochs"):
        load_study("s", ["recipe.epochs=x"], folder)
