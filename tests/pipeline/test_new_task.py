"""A task that the project does not hold: one YAML file, and its rule, its data and its cells are there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.projects import ROOT, Project

BOOLQ = """\
name: boolq
kind: classification
data:
  hub: aps/super_glue
  config: boolq
  columns: {text: [question, passage], target: label}
labels: ["no", "yes"]
metrics: [accuracy]
recipe: {learning_rate: 5.0e-4, epochs: 10}
"""


@pytest.mark.long
def test_one_yaml_file_adds_a_task(project: Project, mirror: Callable[..., Path]) -> None:
    (project.workflow / "tasks" / "boolq.yaml").write_text(BOOLQ)
    project.spoil("studies/tiny.yaml", "data: embedded", "data: mirror")
    rows = {
        "question": ["does a dog bark", "is rain dry"] * 16,
        "passage": ["a dog is heard", "it is wet"] * 16,
        "label": [1, 0] * 16,
        "idx": list(range(32)),
    }
    mirror("aps/super_glue", "boolq", "train", rows)
    folder = mirror("aps/super_glue", "boolq", "validation", rows)
    assert "train_boolq" in project.snakemake("--list-rules", config=(f"mirror={folder}",)).out.split()
    done = project.snakemake("records", config=(f"mirror={folder}", "tasks=boolq"))
    assert done.code == 0, done.out
    assert [str(r.relative_to(project.folder)) for r in project.records] == [
        "results/tiny/cells/boolq/lora/small/seed-0/record.json"
    ]


def test_every_task_has_its_rule(project: Project) -> None:
    rules = project.snakemake("--list-rules").out.split()
    for file in (ROOT / "workflow/tasks").glob("*.yaml"):
        assert f"train_{file.stem}" in rules


def test_slurm_profile_plans_the_paper(project: Project) -> None:
    project.config.clear()
    done = project.snakemake("--profile", str(ROOT / "slurm"), "-n")
    assert done.code == 0, done.out
    trains = [block for block in done.out.split("\nrule ") if block.startswith("train_")]
    assert len(trains) == 200
    for block in trains:
        resources = block.partition("resources: ")[2].partition("\n")[0]
        assert all(f"{name}=" in resources for name in ("gpu", "mem_mb", "runtime"))
        assert "mem_mb=<TBD>" not in resources


@pytest.mark.long
def test_a_study_of_generated_rows_reads_a_mirror_that_is_named(
    project: Project, mirror: Callable[..., Path], tmp_path: Path
) -> None:
    rows = {"sentence": ["a dog barks", "barks dog a"] * 16, "label": [1, 0] * 16, "idx": list(range(32))}
    mirror("nyu-mll/glue", "cola", "train", rows)
    folder = mirror("nyu-mll/glue", "cola", "validation", rows)
    done = project.snakemake("prepared", config=(f"mirror={folder}", "tasks=cola"))
    assert done.code == 0, done.out
    (manifest,) = (tmp_path / "results/cache/data").glob("cola-*/manifest.json")
    assert json.loads(manifest.read_text())["synthetic"] is False
