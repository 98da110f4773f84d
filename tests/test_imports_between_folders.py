"""The import linter finds an import in the wrong direction wherever it is planted, and none in the code as it is."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINT = "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-logo', '--no-cache'])"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package with the linter's contracts."""
    shutil.copytree(ROOT / "bench", tmp_path / "bench", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint(folder: Path) -> tuple[int, str]:
    """The linter's exit code and what it printed, for the package in `folder`."""
    done = subprocess.run([sys.executable, "-c", LINT], cwd=folder, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


def test_every_contract_is_kept(copy: Path) -> None:
    code, output = lint(copy)
    assert code == 0, output
    assert "0 broken" in output


@pytest.mark.parametrize(
    ("file", "planted", "contract"),
    [
        ("bench/records/schema.py", "import bench.analysis.build", "only from folders below it"),
        ("bench/errors.py", "def late() -> None:\n    import bench.paths", "only from folders below it"),
        ("bench/engine/step.py", "def late() -> None:\n    import bench.files", "library by itself"),
        ("bench/config/task.py", "def late() -> None:\n    import torch", "slow to import"),
        ("bench/analysis/results.py", "import bench.training.run", "without torch"),
        ("bench/records/schema.py", "import bench.records.io", "No cycle"),
    ],
    ids=["folder", "inside a function", "engine", "torch at each parse", "torch in tables", "cycle of modules"],
)
def test_a_planted_import_is_found(copy: Path, file: str, planted: str, contract: str) -> None:
    with (copy / file).open("a") as stream:
        stream.write(f"\n\n{planted}\n")
    code, output = lint(copy)
    assert code == 1
    broken = output.partition("Broken contracts")[2]
    assert contract in " ".join(broken.split())
