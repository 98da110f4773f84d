"""Fixtures of the pipeline's tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.projects import Project, make_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path, "embedded")


@pytest.fixture
def mirror(tmp_path: Path) -> Callable[..., Path]:
    """Write one split of a generated data set into a mirror folder; returns the mirror."""
    import pyarrow
    import pyarrow.parquet

    def write(hub: str, config: str, split: str, columns: dict[str, list[object]]) -> Path:
        folder = tmp_path / "mirror" / "datasets" / hub / config
        folder.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(pyarrow.table(columns), folder / f"{split}-00000-of-00001.parquet")
        return tmp_path / "mirror"

    return write
