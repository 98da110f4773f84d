"""Meaningless values on the command line and in files: exit code 2 and what was expected, no traceback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cli.app import main
from bench.config.catalog import WORKFLOW
from bench.config.resolve import load_study
from bench.errors import SpecError

Spoil = Callable[[str, str, str], Path]
TRAIN = ["train", "--study", "demo", "--task", "cola", "--method", "lora", "--budget", "small", "--seed", "0"]
BELOW = f"{__file__}/x"  # nobody can write there, root neither
GROUP = ["group", "--study", "demo", "--task", "cola", "--offline", "--cells"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            [*GROUP, "lora/small"],
            "such as lora/small/0, or method/budget/point/seed of a trial, found 'lora/small'",
        ),
        ([*GROUP, "lora/small/x"], "found 'lora/small/x'"),
        (["prepare", "demo", "--data", "colla"], "--data: study 'demo' has no 'colla'"),
        (["prepare", "demo", "--model", "minilm"], "--model: study 'demo' has no 'minilm' (valid: minilm-"),
        (["check", "--workflow", "/nowhere"], "/nowhere: no such folder"),
        (["check", "--workflow", str(WORKFLOW / "tasks")], "no tasks/, methods/ or backbones/ in this folder"),
        (["plan", "demo", "--mirror", "/nowhere"], "--mirror /nowhere: no such folder"),
        (["plan", "demo", "--results", __file__], "is a file"),
        (["prepare", "demo", "--cache", __file__], "is a file"),
        (["evaluate", __file__], "is a file"),
        (["plan", "demo", "--set"], "Option '--set' requires an argument. (see bench plan --help)"),
        (["train", "--out"], "Option '--out' requires an argument. (see bench train --help)"),
        (["--help", "--set"], "No such option '--set'. (see bench --help)"),
        (["plan", "../tasks/cola"], "unknown study '../tasks/cola'"),
        ([*TRAIN, "--results", BELOW], f"results={BELOW}: cannot be written: Not a directory"),
        ([*TRAIN, "--out", BELOW], f"--out={BELOW}: cannot be written: Not a directory"),
        ([*GROUP, "lora/small/0", "--cache", BELOW], f"cache={BELOW}: cannot be written"),
        (["tables", "demo", "--results", BELOW], f"results={BELOW}: cannot be written"),
        (["figures", "demo", "--results", BELOW], "cannot be written: Not a directory"),
        (["page", "demo", "--results", f"/{'x' * 300}"], "File name too long"),
        (["prepare", "demo", "--results", BELOW], f"cache={BELOW}/cache: cannot be written"),
        (
            ["plan", "demo", "--set", "recipe.epochs=1e308"],
            "recipe.epochs: input should be less than or equal to 1000000",
        ),
        (["status", "demo", "--set", "overrides={cola: {recipe: 5}}"], "overrides.cola.recipe: expected a mapping"),
        (["status", "demo", "--set", "overrides.cola.data=null"], "overrides.cola.data: expected a mapping"),
    ],
)
def test_on_the_command_line(capsys: pytest.CaptureFixture, words: list[str], message: str) -> None:
    assert main(words) == 2
    assert message in capsys.readouterr().err


def test_a_column_is_either_text_or_target(spoil: Spoil, capsys: pytest.CaptureFixture) -> None:
    folder = spoil("tasks/cola.yaml", "{text: [sentence], target: label}", "{text: [sentence, label], target: label}")
    assert main(["check", "--workflow", str(folder)]) == 2
    assert "column 'label' is named twice" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["cache", "evaluations", "reference", "reproductions"])
def test_a_study_is_not_called_like_another_folder_of_the_results(spoil: Spoil, name: str) -> None:
    folder = spoil("studies/s.yaml", "name: s", f"name: {name}")
    (folder / "studies/s.yaml").rename(folder / f"studies/{name}.yaml")
    with pytest.raises(SpecError, match=f"{name}.yaml:1:1: name: '{name}' is taken"):
        load_study(name, (), folder)


def test_a_method_is_held_against_peft_before_a_training_by_hand(spoil: Spoil, capsys: pytest.CaptureFixture) -> None:
    peft = "adapter: peft\npeft: {config: LoraConfig, fields: {use_dorra: true}}"
    folder = spoil("methods/lora.yaml", "adapter: lora", peft)
    words = [*TRAIN[:2], "s", *TRAIN[3:], "--workflow", str(folder), "--results", str(folder / "results")]
    assert main(words) == 2
    assert "peft.fields: LoraConfig has no field 'use_dorra' (did you mean 'use_dora'?)" in capsys.readouterr().err
    assert not (folder / "results").exists()
