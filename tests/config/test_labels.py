"""Labels: how tables name tasks and methods. They are no part of a cell's identity."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from bench.config.catalog import WORKFLOW
from bench.config.cell import spec_hash_of
from bench.config.resolve import load_study
from bench.errors import SpecError
from bench.records.io import read_record

EXAMPLE = Path(__file__).parents[2] / "results" / "demo" / "example"


def test_a_task_or_a_method_without_a_label_is_called_by_its_name(workflow: Path) -> None:
    for folder, name in (("tasks", "cola"), ("methods", "lora")):
        change(workflow / folder / f"{name}.yaml", label=None)
    cell = load_study("s", (), workflow).cells[0]
    assert (cell.task.label, cell.method.label) == ("cola", "lora")


def test_a_label_does_not_change_what_a_cell_is(workflow: Path) -> None:
    hashes = {}
    for label in (None, "CoLA", "CoLA (2019)"):
        change(workflow / "tasks" / "cola.yaml", label=label)
        change(workflow / "methods" / "lora.yaml", label=label)
        hashes[label] = [cell.spec_hash for cell in load_study("s", (), workflow).cells]
    assert hashes[None] == hashes["CoLA"] == hashes["CoLA (2019)"]


def test_a_record_from_before_tasks_had_labels_is_of_the_same_cell() -> None:
    record = read_record(EXAMPLE / "cells/cola/lora/small/seed-0/record.json")
    spec = json.loads(json.dumps(record.spec))
    spec["task"].pop("label", None)
    assert spec_hash_of(spec) == record.cell.spec_hash
    spec["task"]["label"] = "CoLA"
    assert spec_hash_of(spec) == record.cell.spec_hash


@pytest.mark.parametrize("label", ["", " CoLA", "CoLA ", "Co\nLA", "Co\tLA", "x" * 41, 7, True, ["CoLA"]])
def test_what_is_no_label_is_refused_with_its_place(workflow: Path, label: object) -> None:
    change(workflow / "tasks" / "cola.yaml", label=label)
    with pytest.raises(SpecError, match=r"cola\.yaml:\d+:\d+: label: "):
        load_study("s", (), workflow)


def test_a_label_may_be_in_any_script(workflow: Path) -> None:
    change(workflow / "tasks" / "cola.yaml", label="Приемлемость – (IA)³ & 50%")
    assert load_study("s", (), workflow).cells[0].task.label == "Приемлемость – (IA)³ & 50%"


def test_two_methods_of_a_study_with_one_label_are_refused(workflow: Path) -> None:
    change(workflow / "methods" / "adalora.yaml", label="LoRA")
    with pytest.raises(SpecError, match=r"s\.yaml:\d+:\d+: methods 'lora' and 'adalora' have the same label 'LoRA'"):
        load_study("s", (), workflow)


def test_the_tasks_of_the_repository_have_the_names_of_their_community() -> None:
    study = load_study("paper")
    labels = {cell.task.label for cell in study.cells}
    assert labels == {"MNLI", "SST-2", "CoLA", "QNLI", "CNN/DailyMail"}
    files = sorted((WORKFLOW / "tasks").glob("*.yaml"))
    assert files
    assert all("label" in yaml.safe_load(file.read_text()) for file in files)


def change(file: Path, **keys: object) -> None:
    """Write other values of these keys into a YAML file; None takes the key out."""
    data = {**yaml.safe_load(file.read_text()), **keys}
    file.write_text(yaml.safe_dump({key: value for key, value in data.items() if value is not None}, sort_keys=False))
