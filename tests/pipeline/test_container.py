"""Jobs in an image. Apptainer is a stand-in here: it notes how it was called, and runs the command as it is."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from helpers.projects import Project, make_project

from bench.config.resolve import load_study
from bench.errors import BenchError
from bench.pipeline.container import CHECKOUT, container_image, container_variables
from bench.pipeline.run_options import RunOptions
from bench.pipeline.study import Pipeline

# What follows the image is the command, as after `apptainer exec OPTIONS IMAGE`.
STAND_IN = f"""#!{sys.executable}
import json, os, sys
if sys.argv[1:] == ["--version"]:
    print("apptainer version 1.3.4")
    raise SystemExit
image = next(place for place, word in enumerate(sys.argv) if word.endswith(".sif"))
kept = {{name: value for name, value in os.environ.items() if name.startswith(("APPTAINER", "HF_HOME", "BENCH_"))}}
with open(os.environ["CALLS"], "a") as calls:
    calls.write(json.dumps({{"image": sys.argv[image], "variables": kept}}) + "\\n")
os.execvp(sys.argv[image + 1], sys.argv[image + 1 :])
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the stand-in notes its calls, a line of JSON each."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "apptainer").write_text(STAND_IN)
    (tools / "apptainer").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=os.pathsep)
    monkeypatch.setenv("CALLS", str(tmp_path / "calls.jsonl"))
    monkeypatch.delenv("HF_HOME", raising=False)
    return tmp_path / "calls.jsonl"


@pytest.mark.long
def test_jobs_work_in_the_image_and_their_records_stand_outside_it(
    tmp_path: Path, prepared_cache: Path, calls: Path
) -> None:
    project = make_project(tmp_path / "project", "embedded", prepared_cache)
    image = tmp_path / "rankbench.sif"
    image.touch()
    done = project.snakemake("records", "--sdm", "apptainer", config=(f"container={image}", "tasks=cola"))
    assert done.code == 0, done.out
    assert len(project.records) == 1
    called = [json.loads(line) for line in calls.read_text().splitlines()]
    assert {call["image"] for call in called} == {str(image)}
    variables = called[-1]["variables"]
    assert variables["APPTAINERENV_PYTHONPATH"] == str(CHECKOUT)
    assert str(CHECKOUT) in variables["APPTAINER_BIND"].split(",")
    assert variables["BENCH_STUDY"] == "tiny"
    # Snakemake would run a cell again whose image changed; a record made in another one is as good.
    assert project.snakemake("-n", "records", config=("tasks=cola",)).nothing_to_do


def test_an_image_without_the_option_is_refused(project: Project) -> None:
    done = project.snakemake("-n", "records", config=("container=rankbench.sif",))
    assert done.code == 2
    assert "container=rankbench.sif: Snakemake uses an image with --sdm apptainer alone" in done.out


def test_an_image_is_a_file_or_an_address(tmp_path: Path) -> None:
    image = tmp_path / "rankbench.sif"
    image.touch()
    assert container_image({"container": str(image)}, ["apptainer"]) == str(image)
    assert container_image({"container": "docker://rankbench:0.2"}, ["apptainer"]) == "docker://rankbench:0.2"
    assert container_image({}, ["apptainer"]) is None
    assert container_image({}, []) is None
    with pytest.raises(BenchError, match="no such file"):
        container_image({"container": str(tmp_path / "rankbanch.sif")}, ["apptainer"])
    with pytest.raises(BenchError, match="add that option"):
        container_image({"container": str(image)}, ["conda"])


def pipeline(**folders: Path) -> Pipeline:
    study = load_study("demo")
    return Pipeline(study, study.cells, RunOptions(study="demo", **folders))


def test_folders_outside_the_working_folder_are_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    working, elsewhere = tmp_path / "work", tmp_path / "scratch"
    working.mkdir()
    elsewhere.mkdir()
    (working / "results").symlink_to(elsewhere)
    monkeypatch.chdir(working)
    mirror, hub = tmp_path / "mirror", tmp_path / "hub"
    of = pipeline(results=Path("results"), cache=working / "cache", mirror=mirror)
    found = container_variables(of, {"HF_HOME": str(hub), "APPTAINER_BIND": "/data:/data:ro"})
    bound = found["APPTAINER_BIND"].split(",")
    assert bound[0] == "/data:/data:ro"
    assert set(bound[1:]) == {str(elsewhere), str(hub), str(mirror), str(CHECKOUT)}
    assert found["HF_HOME"] == str(hub)
    assert (working / "cache").is_dir()


def test_a_folder_that_cannot_be_bound_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    with pytest.raises(BenchError, match="comma"):
        container_variables(pipeline(results=tmp_path / "a,b"), {"HF_HOME": str(tmp_path)})
