"""A place with the smallest shapes, so that a check takes seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.estimate.tracing import BatchShape
from bench.selfcheck import sizes, specimens, steps, storages
from bench.selfcheck.check import Place
from bench.selfcheck.specimens import Shape


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, saved once for all tests."""
    return tmp_path_factory.mktemp("selfcheck")


@pytest.fixture
def place(weights: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """The CPU with one small shape of each kind of task."""
    small = (
        Shape("mnli", "adalora", BatchShape(4, 16)),
        Shape("cnn_dailymail", "qlora_adalora", BatchShape(4, 12, 6)),
    )
    for module in (specimens, storages):
        monkeypatch.setitem(module.SHAPES, "cpu", small)
    monkeypatch.setitem(sizes.PEAK_SHAPES, "cpu", (Shape("mnli", "lora", BatchShape(16, 64)),))
    monkeypatch.setattr(steps, "REPEATED_STEPS", 2)
    return Place(weights, "cpu")
