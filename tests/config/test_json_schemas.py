"""The JSON Schemas in workflow/schemas/ are those of the code; they take every file that ships and refuse slips."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from bench.cli.app import main
from bench.config.catalog import WORKFLOW
from bench.config.yaml_source import parse_yaml

ROOT = Path(__file__).resolve().parents[2]
KINDS = {"tasks": "task", "methods": "method", "backbones": "backbone", "studies": "study"}
FOLDERS = (WORKFLOW, ROOT / "bench" / "template" / "workflow")
FILES = [file for folder in FOLDERS for kind in KINDS for file in sorted((folder / kind).glob("*.yaml"))]


def validator(name: str) -> Draft202012Validator:
    schema = json.loads((WORKFLOW / "schemas" / f"{name}.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


VALIDATORS = {kind: validator(name) for kind, name in KINDS.items()}


def test_the_files_are_those_of_the_code(tmp_path: Path) -> None:
    """After a change of a model: uv run bench schema."""
    assert main(["schema", "--out", str(tmp_path)]) == 0
    written = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert written == {file.name: file.read_text() for file in (WORKFLOW / "schemas").iterdir()}


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_a_file_that_ships_names_its_schema_and_is_valid(file: Path) -> None:
    schema = f"../schemas/{KINDS[file.parent.name]}.schema.json"
    assert file.read_text().splitlines()[0] == f"# yaml-language-server: $schema={schema}"
    data = parse_yaml(file.read_text().replace("STUDY", "mine"), file)[0]  # the placeholder of the template
    assert [error.message for error in VALIDATORS[file.parent.name].iter_errors(data)] == []


def test_records_are_valid_and_a_slip_in_one_is_not() -> None:
    record = validator("record")
    files = sorted((ROOT / "results" / "demo" / "example").rglob("record.json"))
    assert len(files) > 10
    for file in files:
        assert record.is_valid(json.loads(file.read_text())), file
    data = json.loads(files[0].read_text())
    assert not record.is_valid({**data, "schema_version": 1})
    assert not record.is_valid({**data, "stats": "ok"})
    assert not record.is_valid({**data, "status": "fine"})


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("tasks/cola.yaml", "epochs: 25", "epohs: 25"),
        ("tasks/cola.yaml", "epochs: 25", "epochs: '25'"),
        ("tasks/cola.yaml", "batch_size: 32", "batch_size: 0"),
        ("tasks/cola.yaml", "kind: classification", "kind: clasification"),
        ("tasks/cola.yaml", "[mcc, accuracy]", "[mc]"),
        ("tasks/cola.yaml", "[mcc, accuracy]", "mcc"),
        ("tasks/cola.yaml", "name: cola", "name: CoLA"),
        ("tasks/multi30k_en_de.yaml", "target: [de_DE", "targets: [de_DE"),
        ("methods/adalora.yaml", "allocator: adalora", "allocator: adlora"),
        ("methods/adalora.yaml", "adapter: adalora", "adapter: adalora\nrecipe: {max_length: 16}"),
        ("methods/adalora.yaml", "adapter: adalora", "adapter: adalora\nrecipe: {rank_schedule: {intervall: 1}}"),
        ("methods/adalora.yaml", "adapter: adalora\n", ""),
        ("backbones/minilm.yaml", "matrices:", "matrixes:"),
        ("studies/demo.yaml", "seeds: [0]", "seeds: [0.5]"),
        ("studies/demo.yaml", "seeds: [0]", "seeds: [0]\ntuning: {space: {epochs: [1, 2]}, trails: 2}"),
        ("studies/demo.yaml", "recipe:\n", "recipe:\n  epohs: 1\n"),
        ("studies/demo.yaml", "overrides:\n", "overrides:\n  Cola: {labels: [a, b]}\n"),
        ("studies/demo.yaml", "classification: minilm", "classificasion: minilm"),
        ("studies/demo.yaml", "rank: 2", "rnk: 2"),
        ("studies/demo-tuning.yaml", "space: {", "space: {alpha: {frm: 1, to: 2}, "),
    ],
)
def test_a_slip_is_refused(file: str, old: str, new: str) -> None:
    text = (WORKFLOW / file).read_text()
    assert old in text
    assert not VALIDATORS[file.partition("/")[0]].is_valid(parse_yaml(text.replace(old, new, 1), Path(file))[0])


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("tasks/cola.yaml", "hub: nyu-mll/glue", "files: {train: a.csv, dev: [b.csv, c.csv]}"),
        ("tasks/cola.yaml", "[mcc, accuracy]", "['evaluate:chrf:score/100']"),
        ("tasks/multi30k_en_de.yaml", "source: [en_XX, eng_Latn, en]", "source: en"),
        ("methods/adalora.yaml", "adapter: adalora", "adapter: adalora\nrecipe: {rank_schedule: {interval: 2}}"),
        ("studies/demo.yaml", "overrides:\n", "overrides:\n  sst2: {data: {columns: {target: other}}}\n"),
        ("studies/demo-tuning.yaml", "space: {", "space: {alpha: {from: 1, to: 2, scale: log}, "),
    ],
)
def test_a_short_form_is_valid(file: str, old: str, new: str) -> None:
    text = (WORKFLOW / file).read_text()
    assert old in text
    data: dict[str, Any] = parse_yaml(text.replace(old, new, 1), Path(file))[0]
    assert [error.message for error in VALIDATORS[file.partition("/")[0]].iter_errors(data)] == []


def test_without_a_folder_of_yaml_files_a_place_must_be_named(capsys: pytest.CaptureFixture) -> None:
    assert main(["schema"]) == 2
    assert "there is no folder workflow here: name another place with --out DIR" in capsys.readouterr().err
