"""A small study whose records say a lot of the machine that made them, and its bundle."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from filelock import FileLock
from helpers.leaky_study import LeakyStudy, leaky_study, write_leaky_study


@pytest.fixture(scope="session")
def _shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of results and bundle, made once for all workers. Nothing may change them."""
    mine = tmp_path_factory.getbasetemp()
    folder = (mine.parent if "PYTEST_XDIST_WORKER" in os.environ else mine) / "ann smith"
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / "demo.zip").exists():
            study = write_leaky_study(folder / "results of ann")
            assert study.bundle(folder / "demo.zip", "--adapters") == 0
    return folder


@pytest.fixture(scope="session")
def leaky(_shared: Path) -> LeakyStudy:
    """The study and its results."""
    return leaky_study(_shared / "results of ann")


@pytest.fixture
def bundled(_shared: Path) -> Path:
    """Its bundle, adapters included."""
    return _shared / "demo.zip"
