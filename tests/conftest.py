"""What holds for every test: its processes, its working folder and the lines that pytest prints.

Pytest puts the folder of this file on the import path, so that all tests can import the package `helpers`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from helpers.file_lines import FileLines
from helpers.projects import make_project, prepare

from bench.inputs.processors import allowed_processors

# What a shell, a Slurm job or torchrun has set would choose studies, folders, devices and processes for the tests.
for name in [*os.environ]:
    if name.startswith(("BENCH_", "SLURM_", "TORCHELASTIC_")) or name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        del os.environ[name]
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # bits, sizes and precisions are those of the CPU
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: workers and their trainings share the cores


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One worker per processor, up to eight; none for a single file, which one worker would run alone."""
    files = [Path(argument.partition("::")[0]) for argument in config.args]
    if all(file.is_file() for file in files) and len(set(files)) == 1:
        return 0
    return min(allowed_processors(), 8)  # each takes 2 GB, with the process that its trainings are forked from


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what takes long or changes the machine, unless `-m` names its marker."""
    for name, what in {"long": "takes long", "slurm": "starts a real Slurm on this machine, 15 minutes"}.items():
        if item.get_closest_marker(name) and name not in item.config.getoption("markexpr"):
            pytest.skip(f"{what}: uv run pytest -m {name}")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("tx") and not hasattr(config, "workerinput") and config.get_verbosity() == 0:
        config.pluginmanager.register(FileLines(config))


@pytest.fixture(scope="session")
def prepared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the study `tiny` of `helpers.projects` needs, prepared once for all workers. Nothing may change it."""
    mine = tmp_path_factory.getbasetemp()
    folder = (mine.parent if "PYTEST_XDIST_WORKER" in os.environ else mine) / "prepared"
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            unfinished = folder.with_suffix(".unfinished")
            prepare(make_project(unfinished, "embedded"))
            unfinished.rename(folder)
    return folder / "results" / "cache"


@pytest.fixture(scope="session")
def _empty_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("working")


@pytest.fixture(autouse=True)
def _environment() -> Iterator[None]:
    """A command that a test runs in this process sets variables for libraries, such as offline mode: for it alone."""
    before = dict(os.environ)
    yield
    if os.environ != before:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(autouse=True)
def _working_folder(_empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test works in an empty folder: it finds no results of a study in the checkout, and leaves nothing there."""
    monkeypatch.chdir(_empty_folder)
    yield
    left = sorted(file.name for file in _empty_folder.iterdir())
    for name in left:  # the next test is not to blame
        if (_empty_folder / name).is_dir():
            shutil.rmtree(_empty_folder / name)
        else:
            (_empty_folder / name).unlink()
    assert not left, f"written into the working folder, not below tmp_path: {left}"
