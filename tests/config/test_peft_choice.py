"""A method that names a PEFT config is held against PEFT's own class when it is read, without importing it."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from bench.config.catalog import load_library
from bench.config.peft_fields import config_class, config_names
from bench.config.resolve import load_study
from bench.errors import SpecError

LOHA = "name: loha\nlabel: LoHa\nadapter: peft\npeft:\n  config: LoHaConfig\n  fields: {module_dropout: 0.1}\n"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("LoHaConfig", "LoHaConfg", r"loha\.yaml:5:3: peft\.config: 'LoHaConfg' is no adapter .*'LoHaConfig'"),
        ("LoHaConfig", "AdaLoraConfig", r"'AdaLoraConfig' is no adapter of PEFT"),
        ("LoHaConfig", "PrefixTuningConfig", r"'PrefixTuningConfig' is no adapter of PEFT"),
        ("module_dropout", "module_droput", r"loha\.yaml:6:12: .*no field 'module_droput' .*'module_dropout'"),
        ("module_dropout: 0.1", "r: 4", r"loha\.yaml:6:12: .*'r' follows from budget"),
        ("module_dropout: 0.1", "init_weights: 3", r"init_weights: expected bool, found 3"),
        ("module_dropout: 0.1", "module_dropout: a", r"module_dropout: expected float, found 'a'"),
        ("adapter: peft\npeft:\n  config: LoHaConfig\n  fields: {module_dropout: 0.1}", "adapter: peft", "go together"),
        ("adapter: peft", "adapter: lora", "go together"),
        ("adapter: peft", "adapter: peft\nunit: parameters", "no ranks to move, count or regularize"),
        ("adapter: peft", "adapter: peft\nmatrices: [quary]", r"matrices\.0: .*'quary' \(did you mean 'query'"),
    ],
)
def test_a_fault_is_named_with_its_place(workflow: Path, old: str, new: str, message: str) -> None:
    assert old in LOHA
    (workflow / "methods" / "loha.yaml").write_text(LOHA.replace(old, new))
    with pytest.raises(SpecError, match=message):
        load_library(workflow)


def test_a_role_that_the_backbone_lacks_is_told(workflow: Path) -> None:
    (workflow / "methods" / "lora.yaml").write_text("name: lora\nlabel: LoRA\nadapter: lora\nmatrices: [value]\n")
    with pytest.raises(SpecError, match=r"s\.yaml:5:1: method 'lora': no matrix of 'minilm' is a value"):
        load_study("s", (), workflow)


def test_nothing_heavy_is_imported_for_it(workflow: Path) -> None:
    (workflow / "methods" / "loha.yaml").write_text(LOHA)
    code = (
        "import sys; from pathlib import Path; from bench.config.catalog import load_library;"
        f"assert 'loha' in load_library(Path({str(workflow)!r})).methods;"
        "print([m for m in ('torch', 'peft', 'transformers') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_fields_are_those_of_the_class() -> None:
    import peft

    for name in config_names():
        found, real = config_class(name), getattr(peft, name, None)
        assert found is not None
        if real is not None:
            assert set(found.fields) == {field.name for field in dataclasses.fields(real) if field.init}, name
