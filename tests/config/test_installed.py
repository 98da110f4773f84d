"""The wheel works where there is no checkout: it carries the YAML files, the rules and the Snakefile."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.config.catalog import load_catalog

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = ("workflow/rules", "workflow/report", "workflow/tasks", "workflow/studies", "workflow/schemas")
CARRIED = (*WORKFLOW, "slurm", "profiles/default", "results/reference")
TEMPLATE = "bench/template"

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(shutil.which("uv") is None, reason="no uv here, which builds the wheel: pip install uv"),
]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of the built wheel. The dependencies are those of this environment."""
    wheels, target = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("installed")
    subprocess.run(["uv", "build", "--wheel", "--quiet", "--out-dir", wheels, ROOT], check=True)
    (wheel,) = wheels.glob("*.whl")
    subprocess.run(
        ["uv", "pip", "install", "--quiet", "--no-deps", "--python", sys.executable, "--target", target, wheel],
        check=True,
    )
    return target


def run(installed: Path, folder: Path, *words: str) -> str:
    """The output of `python WORDS` in `folder`, where `bench` is the installed package."""
    # PYTHONPATH comes before the checkout, which the environment's editable installation adds.
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_file_that_the_code_reads_is_in_the_wheel(installed: Path) -> None:
    assert (installed / "bench" / "Snakefile").read_bytes() == (ROOT / "Snakefile").read_bytes()
    for folder in CARRIED:
        names = {file.name for file in (ROOT / folder).iterdir()}
        assert {file.name for file in (installed / "bench" / folder).iterdir()} == names
    template = {file.relative_to(ROOT) for file in (ROOT / TEMPLATE).rglob("*")}
    assert {file.relative_to(installed) for file in (installed / TEMPLATE).rglob("*")} == template


def test_the_commands_find_the_installed_files(installed: Path, tmp_path: Path) -> None:
    folder = run(installed, tmp_path, "-c", "from bench.config.catalog import WORKFLOW; print(WORKFLOW)").strip()
    assert Path(folder) == installed / "bench" / "workflow"
    catalog = load_catalog()
    run(installed, tmp_path, "-m", "bench.cli", "init", "mine")
    schema = tmp_path / "mine" / "workflow" / "schemas" / "task.schema.json"
    schema.write_text("{}")
    checked = run(installed, tmp_path / "mine", "-m", "bench.cli", "check").splitlines()
    assert checked[0].startswith(f"{len(catalog.tasks) + 1} tasks, {len(catalog.methods) + 1} methods,")
    assert checked[1] == "of these in workflow/: 1 tasks, 1 methods, 0 backbones, 1 studies"
    assert checked[2].startswith("workflow/schemas: of another version of the package")
    assert len(checked[3:]) == len(catalog.study_names()) + 1
    run(installed, tmp_path / "mine", "-m", "bench.cli", "schema")
    assert schema.read_bytes() == (ROOT / "workflow" / "schemas" / schema.name).read_bytes()
    assert "cola/lora/small/seed-0" in run(installed, tmp_path, "-m", "bench.cli", "plan", "demo")


def test_snakemake_reads_the_installed_snakefile(installed: Path, tmp_path: Path) -> None:
    snakefile = str(installed / "bench" / "Snakefile")
    output = run(installed, tmp_path, "-m", "snakemake", "--snakefile", snakefile, "--cores", "1", "--dry-run")
    assert "group_cola_1" in output


def test_a_folder_of_ones_own_runs_with_the_installed_package(installed: Path, tmp_path: Path) -> None:
    """As docs/own-studies.md has it: init, a task and a method added by hand, one run, and the tables are there."""
    run(installed, tmp_path, "-m", "bench.cli", "init", "mine")
    mine = tmp_path / "mine"
    task, method, study = (mine / "workflow" / name for name in ("tasks", "methods", "studies"))
    text = (task / "my_task.yaml").read_text()
    (task / "my_other.yaml").write_text(text.replace("name: my_task", "name: my_other").replace("My task", "Other"))
    (method / "my_adapter.yaml").write_text("name: my_adapter\nadapter: lora\nmatrices: [feed-forward-in]\n")
    text = (study / "mine.yaml").read_text().replace("[lora, my_method]", "[lora, my_adapter]")
    (study / "mine.yaml").write_text(text.replace("[my_task]", "[my_other]").replace("[0, 1]", "[0]"))
    assert "group_my_other_1" in run(installed, mine, "-m", "snakemake", "--profile", "slurm", "--dry-run")
    run(installed, mine, "-m", "snakemake", "--cores", "2", "--config", "set=recipe.max_steps=4")
    table = (mine / "results" / "mine" / "tables" / "methods.md").read_text()
    for label in ("Other", "LoRA", "my_adapter"):
        assert f"| {label} " in table
    records = [json.loads(file.read_text()) for file in mine.rglob("record.json")]
    # Without a commit: they were trained by the wheel, not by the checkout that holds this test.
    assert [record["environment"]["commit"] for record in records] == [None, None]
