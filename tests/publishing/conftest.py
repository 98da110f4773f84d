"""What tests of this folder publish: a small study whose records say a lot of their machine, and adapters."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from helpers.fixtures import shared_lab
from helpers.hub_server import StandIn, stand_in
from helpers.leaky_study import LeakyStudy, leaky_study, write_leaky_study
from helpers.published import CHOICE, write_trained
from helpers.records import study_of

from bench.analysis.results import Results

__all__ = ["shared_lab"]


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


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Three seeds of it. No test changes a record or an adapter."""
    return write_trained(tmp_path_factory.mktemp("trained"), study_of(3, *CHOICE))


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Results]:
    """A function that writes the study, or another choice of its tasks, below `tmp_path` and reads its results."""

    def make(seeds: int, *choice: str, **data: Any) -> Results:
        return write_trained(tmp_path, study_of(seeds, *CHOICE, *choice), **data)

    return make


@pytest.fixture
def hub() -> Iterator[StandIn]:
    with stand_in() as state:
        yield state
