"""The recipe's optimizer: its default is in no hash, another one is a cell of its own, and it can be tuned."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.config.catalog import WORKFLOW
from bench.config.cell import deciding_spec, spec_hash_of
from bench.config.resolve import load_study
from bench.errors import SpecError

Spoil = Callable[[str, str, str], Path]


def test_the_default_is_in_no_hash_and_another_one_is(workflow: Path) -> None:
    before = load_study("s", (), workflow).find("cola", "lora", "small", 0)
    spec = before.model_dump(mode="json")
    assert spec["recipe"].pop("optimizer") == "adamw"
    assert spec_hash_of(spec) == before.spec_hash
    packed = load_study("s", ["recipe.optimizer=adamw8bit"], workflow).find("cola", "lora", "small", 0)
    assert packed.spec_hash != before.spec_hash
    assert deciding_spec(packed.model_dump(mode="json"))["recipe"]["optimizer"] == "adamw8bit"


def test_both_optimizers_can_be_tuned(spoil: Spoil) -> None:
    folder = spoil("studies/s.yaml", "seeds:", "tuning: {space: {optimizer: [adamw, adamw8bit]}}\nseeds:")
    trials = load_study("s", ["tasks=[cola]"], folder).trials["cola/lora/small"]
    assert sorted(trial.recipe.optimizer for trial in trials) == ["adamw", "adamw8bit"]


@pytest.mark.parametrize("name", ["paged_adamw8bit", "adam"])
def test_an_unknown_optimizer_is_refused_with_its_line(spoil: Spoil, name: str) -> None:
    folder = spoil("tasks/cola.yaml", "epochs: 25", f"epochs: 25, optimizer: {name}")
    with pytest.raises(SpecError, match=r"cola\.yaml:11:.*recipe\.optimizer.*adamw8bit"):
        load_study("s", (), folder)


def test_the_study_of_the_documentation_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "configuration.md").read_text()
    begin = page.index("    name: my_qlora")
    shutil.copytree(WORKFLOW, tmp_path / "workflow")
    study = textwrap.dedent(page[begin : page.index("\n\n", begin)])
    (tmp_path / "workflow" / "studies" / "my_qlora.yaml").write_text(study)
    cells = load_study("my_qlora", (), tmp_path / "workflow").cells
    assert len(cells) == 6
    recipe = cells[0].recipe
    assert (recipe.optimizer, recipe.learning_rate, recipe.gradient_clip, recipe.alpha) == ("adamw8bit", 2e-4, 0.3, 16)
