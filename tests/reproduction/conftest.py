"""One trained cell, recorded once; each test gets a copy of its folder of results."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers.fixtures import lab, shared_lab
from helpers.reproductions import Archive
from helpers.small_cells import Lab

__all__ = ["lab", "shared_lab"]


@pytest.fixture
def archive(lab: Lab, tmp_path: Path) -> Archive:
    """An empty folder of results."""
    return Archive(lab, tmp_path / "results")


@pytest.fixture(scope="session")
def _recorded(shared_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Archive:
    archive = Archive(shared_lab, tmp_path_factory.mktemp("recorded") / "results")
    archive.record(shared_lab.cell("lora", epochs=2, rank_schedule=None))
    return archive


@pytest.fixture
def one_cell(_recorded: Archive, tmp_path: Path) -> Archive:
    """A folder of results with one cell, `folder_of`."""
    shutil.copytree(_recorded.results, tmp_path / "results")
    return Archive(_recorded.lab, tmp_path / "results")


@pytest.fixture
def folder(one_cell: Archive) -> Path:
    """The folder of the one cell of `one_cell`."""
    (record,) = one_cell.results.rglob("record.json")
    return record.parent
