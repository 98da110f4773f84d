"""Meaningless values on the command line and in files: exit code 2 and what was expected, no traceback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cli.app import main
from bench.config.catalog import WORKFLOW

Spoil = Callable[[str, str, str], Path]
GROUP = ["group", "--study", "demo", "--task", "cola", "--offline", "--cells"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*GROUP, "lora/small"], "expected method/budget/seed, such as lora/small/0, found 'lora/small'"),
        ([*GROUP, "lora/small/x"], "found 'lora/small/x'"),
        (["prepare", "demo", "--data", "colla"], "--data: study 'demo' has no 'colla'"),
        (["prepare", "demo", "--model", "minilm"], "--model: study 'demo' has no 'minilm' (valid: minilm-"),
        (["check", "--workflow", "/nowhere"], "/nowhere: no such folder"),
        (["check", "--workflow", str(WORKFLOW / "tasks")], "no tasks/, methods/ or backbones/ in this folder"),
        (["plan", "demo", "--mirror", "/nowhere"], "--mirror /nowhere: no such folder"),
        (["plan", "demo", "--results", __file__], "is a file"),
        (["prepare", "demo", "--cache", __file__], "is a file"),
        (["evaluate", __file__], "is a file"),
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
