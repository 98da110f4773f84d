"""What tests of this folder publish, and where to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.fixtures import shared_lab
from helpers.hub_server import StandIn, stand_in
from helpers.published import CHOICE, write_trained
from helpers.records import study_of

from bench.analysis.results import Results

__all__ = ["shared_lab"]


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
