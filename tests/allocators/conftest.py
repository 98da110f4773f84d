"""A prepared small model, and the counter of operations that the benchmarks use."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.fixtures import shared_lab
from registry_cases import Added

import bench.engine.allocators
from bench.engine.allocators.names import ALLOCATORS

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

__all__ = ["shared_lab"]


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Added], None]]:
    """A function that registers a line until the test ends."""
    monkeypatch.setattr(bench.engine.allocators, "__path__", [*bench.engine.allocators.__path__])
    modules = []

    def register(line: Added) -> None:
        monkeypatch.setitem(ALLOCATORS, line.name, line.facts)
        modules.append(f"bench.engine.allocators.{line.facts.build.split(':')[0]}")
        line.install()

    yield register
    for module in modules:
        sys.modules.pop(module, None)  # another test may have another module of this name
