"""Fixtures around `small`: a prepared model and undisturbed runs, made once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.config.cell import Cell
from helpers.small_cells import Lab, make_lab, outcome


@pytest.fixture(scope="session")
def shared_lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return make_lab(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="session")
def shared_summaries(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return make_lab(tmp_path_factory.mktemp("summaries"), "summarization")


@pytest.fixture
def lab(shared_lab: Lab, tmp_path: Path) -> Lab:
    """A lab with a cache of the test's own."""
    return replace(shared_lab, cache=tmp_path / "cache")


@pytest.fixture
def summaries(shared_summaries: Lab, tmp_path: Path) -> Lab:
    return replace(shared_summaries, cache=tmp_path / "cache")


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Lab, Cell], dict[str, Any]]:
    """The outcome of a cell that nothing interrupts, remembered by the cell."""
    known: dict[str, dict[str, Any]] = {}

    def run(lab: Lab, cell: Cell) -> dict[str, Any]:
        key = f"{lab.model} {cell.spec_hash}"
        if key not in known:
            folder = tmp_path_factory.mktemp("undisturbed")
            own = replace(lab, cache=folder / "cache")
            own.prepare(cell)
            assert own.train(cell, folder / "out", every=None) == 0, (folder / "log.txt").read_text()
            known[key] = outcome(folder / "out")
            shutil.rmtree(folder)
        return known[key]

    return run
