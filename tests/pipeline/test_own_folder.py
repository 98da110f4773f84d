"""`bench init` writes a folder in which the package's commands and Snakemake work on one's own files."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bench.cli.app import app, main
from bench.config.catalog import WORKFLOW, load_catalog
from bench.config.folders import yaml_files
from bench.config.resolve import load_study
from bench.inputs.locate.located import locate
from bench.packaged import DEFAULT_PROFILE, ROOT, SLURM_PROFILE


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_folder_holds_a_study_of_its_name_on_own_files(
    here: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["init", "deep/my study/my-study"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "cd 'deep/my study/my-study' && snakemake --cores all"
    folder = here / "deep" / "my study" / "my-study"
    assert not [path for path in folder.parent.iterdir() if path != folder]
    assert not [file for file in folder.rglob("*") if file.is_file() and "STUDY" in file.read_text()]
    assert (folder / ".gitignore").is_file()
    assert (folder / "slurm" / "config.yaml").read_bytes() == (SLURM_PROFILE / "config.yaml").read_bytes()
    assert yaml.safe_load((folder / "slurm" / "study.yaml").read_text()) == {"study": "my-study"}
    copied = folder / "profiles" / "default" / "config.yaml"
    assert copied.read_bytes() == (DEFAULT_PROFILE / "config.yaml").read_bytes()
    monkeypatch.chdir(folder)
    study = load_study("my-study")
    assert {(cell.task.name, cell.method.name) for cell in study.cells} == {
        ("my_task", "lora"),
        ("my_task", "my_method"),
    }
    task = study.cells[0].task
    found = locate(task, mirror=None)
    for split, files in found.splits.items():
        assert sum(len(file.read_text().splitlines()) for file in files.values()) == task.data.rows[split]
    for file in (file for kind in ("tasks", "methods", "studies") for file in yaml_files(Path("workflow") / kind)):
        schema = file.read_text().splitlines()[0].partition("$schema=")[2]
        assert (file.parent / schema).resolve().read_bytes() == (WORKFLOW / "schemas" / Path(schema).name).read_bytes()


def test_an_empty_folder_is_filled_and_any_other_is_left_alone(
    here: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "mine").mkdir()
    monkeypatch.chdir(here / "mine")
    inode = (here / "mine").stat().st_ino
    assert main(["init", "."]) == 0
    assert (here / "mine").stat().st_ino == inode  # not another folder of the same name
    assert load_study("mine").cells
    before = {path: path.stat().st_mtime_ns for path in here.rglob("*")}
    assert main(["init", str(here / "mine")]) == 2
    assert "is not empty: name a folder that does not exist yet" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in here.rglob("*") if path != here / "mine"} == {
        path: time for path, time in before.items() if path != here / "mine"
    }


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("My Study", "found 'My Study' (did you mean 'my_study'?)"),
        ("cache", "'cache' is taken: the harness keeps something else in that folder of the results"),
        ("demo", "the package has a study 'demo' already"),
        ("", "is blank; expected the name of a folder"),
        (__file__, "is a file"),
    ],
)
def test_a_name_that_no_study_can_have_is_refused(
    here: Path, capsys: pytest.CaptureFixture, name: str, message: str
) -> None:
    assert main(["init", name]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert len(told.splitlines()) == 1
    assert not list(here.iterdir())


def test_no_name_of_the_package_begins_with_my() -> None:
    """The README of the folder promises it, so that names of users stay free in later versions."""
    catalog = load_catalog(WORKFLOW)
    names = [*catalog.tasks, *catalog.methods, *catalog.backbones, *catalog.study_names()]
    assert not [name for name in names if name.startswith("my_")]


def test_snakemake_runs_the_own_study_there_and_those_of_the_package(here: Path) -> None:
    assert main(["init", "mine"]) == 0
    packaged = ["--cores", "1", "--config", "study=storage", "methods=my_method"]
    own = ["--profile", "slurm"]
    for words, told_of in ((own, ["group_my_task_1", "gpu=1"]), (packaged, ["my_method/small/seed-0"])):
        command = [sys.executable, "-m", "snakemake", "--dry-run", *words]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=here / "mine", capture_output=True, text=True, env=environment, timeout=300)
        told = done.stdout + done.stderr
        assert done.returncode == 0, told
        assert "rule own:" in told
        assert [word for word in told_of if word not in told] == []


def test_what_the_readme_of_the_folder_names_is_there(here: Path) -> None:
    assert main(["init", "mine"]) == 0
    command = [sys.executable, "-c", "from bench.packaged import WORKFLOW; print(WORKFLOW)"]
    text = (here / "mine" / "README.md").read_text()
    assert command[2] in text
    named = set(re.findall(r"(?:^    |`)bench ([a-z]+)", text, re.MULTILINE))
    assert named == {"check", "plan", "tables", "schema"}
    assert named <= app.commands.keys()
    for name in re.findall(r"^\| `([\w/.]+)`", text, re.MULTILINE):
        assert (here / "mine" / name).exists() or name == "results/"
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert Path(printed) == WORKFLOW == ROOT / "workflow"
