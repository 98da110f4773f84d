"""Fixtures around `small_cells`: a prepared model, and cells that nothing interrupts, each trained once."""

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
    """A two-layer encoder for classification, with one cache for all tests."""
    return make_lab(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="session")
def shared_summaries(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A two-layer BART for summaries, with one cache for all tests."""
    return make_lab(tmp_path_factory.mktemp("summaries"), "summarization")


@pytest.fixture(scope="session")
def shared_sums(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A two-layer Llama for word problems, with one cache for all tests."""
    return make_lab(tmp_path_factory.mktemp("sums"), "causal-lm")


@pytest.fixture(scope="session")
def shared_choices(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A two-layer Llama for questions with options, with one cache for all tests."""
    return make_lab(tmp_path_factory.mktemp("choices"), "multiple-choice")


@pytest.fixture(scope="session")
def shared_questions(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A two-layer encoder for questions, with one cache for all tests."""
    return make_lab(tmp_path_factory.mktemp("questions"), "question-answering")


@pytest.fixture
def lab(shared_lab: Lab, tmp_path: Path) -> Lab:
    """The encoder with the test's own cache."""
    return replace(shared_lab, cache=tmp_path / "cache")


@pytest.fixture
def summaries(shared_summaries: Lab, tmp_path: Path) -> Lab:
    """The BART with the test's own cache."""
    return replace(shared_summaries, cache=tmp_path / "cache")


@pytest.fixture
def questions(shared_questions: Lab, tmp_path: Path) -> Lab:
    """The encoder for questions with the test's own cache."""
    return replace(shared_questions, cache=tmp_path / "cache")


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Lab, Cell], dict[str, Any]]:
    """A function that trains a cell without interruption and returns its outcome; each cell is trained once."""
    outcomes: dict[str, dict[str, Any]] = {}

    def run(lab: Lab, cell: Cell) -> dict[str, Any]:
        key = f"{lab.model} {cell.spec_hash}"
        if key not in outcomes:
            folder = tmp_path_factory.mktemp("undisturbed")
            fresh_lab = replace(lab, cache=folder / "cache")
            fresh_lab.prepare(cell)
            assert fresh_lab.train(cell, folder / "out", every=None) == 0, (folder / "log.txt").read_text()
            outcomes[key] = outcome(folder / "out")
            shutil.rmtree(folder)
        return outcomes[key]

    return run
