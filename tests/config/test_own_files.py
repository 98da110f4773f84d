"""A folder workflow/ in the working folder adds to the package's files; a name that both have is refused."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from bench.cli.app import main
from bench.config.catalog import WORKFLOW, load_catalog
from bench.config.folders import folder_of_task, workflow_folders
from bench.config.resolve import load_study
from bench.errors import BenchError, SpecError
from bench.pipeline.run_options import RunOptions

STUDY = """\
name: mine
data: embedded
backbones: {classification: minilm}
tasks: [cola, my_task]
methods: [lora, my_method]
budgets: {small: {rank: 2}}
seeds: [0]
"""
TASK = """\
name: my_task
kind: classification
data: {hub: me/rows, columns: {text: [text], target: label}, embedded: sentiment}
labels: ["no", "yes"]
metrics: [accuracy]
"""
METHOD = "name: my_method\nadapter: lora\nmatrices: [query]\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with files of its own; the paths below are relative to it."""
    monkeypatch.chdir(tmp_path)
    for name, text in {"studies/mine": STUDY, "tasks/my_task": TASK, "methods/my_method": METHOD}.items():
        write(Path("workflow") / f"{name}.yaml", text)
    return tmp_path


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_own_files_and_the_packages_make_one_study(here: Path) -> None:
    study = load_study("mine")
    assert {cell.task.name for cell in study.cells} == {"cola", "my_task"}
    assert {cell.method.name for cell in study.cells} == {"lora", "my_method"}
    assert load_study("demo").cells
    assert set(study.catalog.tasks) == {*load_catalog(WORKFLOW).tasks, "my_task"}
    alone = load_study("mine", ["tasks=[cola]", "methods=[lora]"]).find("cola", "lora", "small", 0)
    shutil.rmtree(here / "workflow" / "tasks")
    shutil.rmtree(here / "workflow" / "methods")
    assert load_study("mine", ["tasks=[cola]", "methods=[lora]"]).find("cola", "lora", "small", 0) == alone


@pytest.mark.usefixtures("here")
def test_a_job_reads_the_same_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables that a job gets name no folder, and it works where the pipeline was started."""
    variables = RunOptions(study="mine").environment()
    monkeypatch.setenv("BENCH_WORKFLOW", variables["BENCH_WORKFLOW"])
    assert main(["status", "mine"]) == 0
    assert RunOptions(study="s", workflow=Path("other")).environment()["BENCH_WORKFLOW"] == "other"


def test_a_name_of_the_package_is_refused_with_both_files(here: Path, capsys: pytest.CaptureFixture) -> None:
    names = {"task": "tasks/cola", "method": "methods/adalora", "backbone": "backbones/minilm"}
    names |= {"study": "studies/demo", "tuned file": "tuned/demo"}
    for name in names.values():
        write(here / "workflow" / f"{name}.yaml", (WORKFLOW / f"{name}.yaml").read_text())
    assert main(["status", "mine"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"{'error: ' if what == 'task' else ''}workflow/{name}.yaml: {what} {Path(name).name!r} is in "
        f"{WORKFLOW / name}.yaml already: give it another name"
        for what, name in names.items()
    ]
    assert main(["status", "demo", "--workflow", str(WORKFLOW)]) == 0


@pytest.mark.usefixtures("here")
def test_the_folder_of_a_tasks_file_is_found_in_either() -> None:
    """Where `bench evaluate` looks for the files that the task of a record names."""
    assert folder_of_task(workflow_folders(), "my_task") == Path("workflow/tasks")
    assert folder_of_task(workflow_folders(), "cola") == WORKFLOW / "tasks"
    assert folder_of_task([Path("elsewhere")], "gone") == Path("elsewhere/tasks")


def test_a_copy_of_the_package_is_told_in_a_few_lines(here: Path, capsys: pytest.CaptureFixture) -> None:
    shutil.copytree(WORKFLOW, here / "workflow", dirs_exist_ok=True)
    assert main(["status", "demo"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 6
    assert told[-1].endswith("if it is a copy, read it alone, with --workflow workflow")
    assert main(["status", "demo", "--workflow", "workflow"]) == 0


def test_faults_name_file_and_line_and_the_nearest_name_of_both(here: Path) -> None:
    study = here / "workflow" / "studies" / "mine.yaml"
    study.write_text(STUDY.replace("my_task]", "my_tsk, colla]"))
    with pytest.raises(SpecError) as caught:
        load_study("mine")
    told = [str(problem) for problem in caught.value.problems]
    assert told == [
        "workflow/studies/mine.yaml:4:15: unknown task 'my_tsk' (did you mean 'my_task'?)",
        "workflow/studies/mine.yaml:4:23: unknown task 'colla' (did you mean 'cola'?)",
    ]
    with pytest.raises(BenchError, match=r"unknown study 'mihe' \(did you mean 'mine'\?\)"):
        load_study("mihe")
    with pytest.raises(BenchError, match=r"unknown study 'dmo' \(did you mean 'demo'\?\)"):
        load_study("dmo")


def test_tuned_values_of_ones_own_are_found_beside_those_of_the_package(here: Path) -> None:
    of_the_package = load_study("demo").cells[0].choice
    assert of_the_package is not None
    write(here / "workflow" / "tuned" / "mine.yaml", (WORKFLOW / "tuned" / "demo.yaml").read_text())
    write(here / "workflow" / "studies" / "mine.yaml", STUDY + "recipe_from: workflow/tuned/mine.yaml\n")
    budget = ["tasks=[cola]", "methods=[lora]", "budgets={small: {rank: 2, initial_rank: 4}}"]
    own = load_study("mine", budget).find("cola", "lora", "small", 0).choice
    assert own is not None
    assert own.source == "workflow/tuned/mine.yaml"


def test_published_numbers_of_ones_own_add_to_the_packages(here: Path, capsys: pytest.CaptureFixture) -> None:
    packaged = WORKFLOW.parent / "results" / "reference"
    table = packaged / "adalora_table_1.csv"
    header, _, first = table.read_text().splitlines()[:3]
    own = write(here / "results" / "reference" / "mine.csv", f"{header}\n{first.replace('Zhang', 'Myself', 1)}\n")
    assert main(["reference"]) == 0
    both = capsys.readouterr().out.splitlines()[0]
    assert main(["reference", "--ledger", str(packaged)]) == 0
    alone = capsys.readouterr().out.splitlines()[0]
    assert [int(n) for n in re.findall(r"\d+", both)] == [int(n) + 1 for n in re.findall(r"\d+", alone)]
    own.rename(own.with_name(table.name))
    assert main(["reference"]) == 2
    assert f"results/reference/{table.name}: there is {table} already" in capsys.readouterr().err


def test_the_checkout_and_links_to_it_have_no_files_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(WORKFLOW.parent)
    assert workflow_folders() == (WORKFLOW,)
    monkeypatch.chdir(tmp_path)
    assert workflow_folders() == (WORKFLOW,)
    (tmp_path / "workflow").mkdir()  # of another project that Snakemake runs
    assert workflow_folders() == (WORKFLOW,)
    (tmp_path / "workflow").rmdir()
    (tmp_path / "workflow").symlink_to(WORKFLOW)
    assert workflow_folders() == (WORKFLOW,)
