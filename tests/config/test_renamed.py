"""Names of earlier versions are refused with the new name, the file and the line; the exit code is 2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cli.app import main
from bench.config.catalog import load_catalog
from bench.config.method import Method
from bench.config.renamed import RENAMED
from bench.config.resolve import load_study
from bench.errors import BenchError, SpecError
from bench.pipeline.snakemake_config import pipeline_from

Spoil = Callable[[str, str, str], Path]


def test_each_new_name_exists() -> None:
    valid = {*Method.model_fields, *load_catalog().methods}
    assert set(RENAMED.values()) <= valid
    assert not RENAMED.keys() & valid


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "methods/lora.yaml",
            "adapter: lora",
            "adapter: lora\nregulariser: true",
            "lora.yaml:4:1: unknown key 'regulariser' (renamed to 'regularizer')",
        ),
        (
            "methods/lora.yaml",
            "adapter: lora",
            "adapter: lora\nstorage: nf4\ndouble_quantisation: false",
            "lora.yaml:5:1: unknown key 'double_quantisation' (renamed to 'double_quantization')",
        ),
        (
            "studies/s.yaml",
            "[lora, adalora]",
            "[lora, adalora_unregularised]",
            "s.yaml:5:17: unknown method 'adalora_unregularised' (renamed to 'adalora_unregularized')",
        ),
    ],
)
def test_an_old_name_in_a_file(
    spoil: Spoil, capsys: pytest.CaptureFixture, file: str, old: str, new: str, message: str
) -> None:
    folder = spoil(file, old, new)
    assert main(["check", "--workflow", str(folder)]) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "methods=[adalora_unregularised]",
            r"^command line: unknown method 'adalora_unregularised' \(renamed to 'adalora_unregularized'\)$",
        ),
        ("regulariser=true", r"^command line: unknown key 'regulariser' \(renamed to 'regularizer'\)$"),
        (
            "overrides.cola.double_quantisation=true",
            r"^command line: unknown key 'double_quantisation' \(renamed to 'double_quantization'\)$",
        ),
    ],
)
def test_an_old_name_in_an_override(workflow: Path, override: str, message: str) -> None:
    for read in (
        lambda: load_study("s", [override], workflow),  # --set
        lambda: pipeline_from({"study": "s", "workflow": workflow, "set": override}),  # --config set=
    ):
        with pytest.raises(SpecError, match=message):
            read()


def test_an_old_method_on_the_command_line() -> None:
    with pytest.raises(BenchError, match="renamed to 'adalora_unregularized'"):
        pipeline_from({"study": "ablations", "methods": "adalora_unregularised"})
    with pytest.raises(BenchError, match="renamed to 'adalora_unregularized'"):
        load_study("ablations").find("cola", "adalora_unregularised", "small", 0)
