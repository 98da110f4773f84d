"""The wheel works where there is no checkout: it carries the YAML files, the rules and the Snakefile."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.config.catalog import load_catalog

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = ("workflow/rules", "workflow/report", "workflow/tasks", "workflow/studies")
CARRIED = (*WORKFLOW, "slurm", "profiles/default", "results/reference")

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


def test_the_commands_find_the_installed_files(installed: Path, tmp_path: Path) -> None:
    folder = run(installed, tmp_path, "-c", "from bench.config.catalog import WORKFLOW; print(WORKFLOW)").strip()
    assert Path(folder) == installed / "bench" / "workflow"
    catalog = load_catalog()
    checked = run(installed, tmp_path, "-m", "bench.cli", "check")
    assert checked.startswith(f"{len(catalog.tasks)} tasks, {len(catalog.methods)} methods,")
    assert checked.count("study ") == len(catalog.study_names())
    assert "cola/lora/small/seed-0" in run(installed, tmp_path, "-m", "bench.cli", "plan", "demo")


def test_snakemake_reads_the_installed_snakefile(installed: Path, tmp_path: Path) -> None:
    snakefile = str(installed / "bench" / "Snakefile")
    output = run(installed, tmp_path, "-m", "snakemake", "--snakefile", snakefile, "--cores", "1", "--dry-run")
    assert "group_cola_1" in output
