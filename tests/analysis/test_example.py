"""Today's code makes the committed example from its records, and the example is a run of today's demo."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.analysis.build import make_figures, make_page, make_tables
from bench.config.resolve import load_study
from bench.records.io import read_record

EXAMPLE = Path(__file__).parents[2] / "results" / "demo" / "example"
PICTURE = re.compile(r"data:image/png;base64,[^\"]*")


@pytest.fixture(scope="module")
def today(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables, figures and page made now from the example's cells."""
    results = tmp_path_factory.mktemp("results")
    shutil.copytree(EXAMPLE / "cells", results / "demo" / "cells")
    for make in (make_tables, make_figures, make_page):
        make(load_study("demo"), results)
    return results / "demo"


def names(folder: Path, kind: str) -> list[str]:
    return sorted(file.name for file in (folder / kind).iterdir())


def test_every_cell_of_the_demo_is_in_it() -> None:
    cells = load_study("demo").cells
    records = [read_record(EXAMPLE / "cells" / cell.id / "record.json") for cell in cells]
    assert len(records) == 40
    for cell, record in zip(cells, records, strict=True):
        assert record.status == "ok"
        assert record.cell.spec_hash == cell.spec_hash, "the demo has changed: renew the example, docs/results.md"
        assert not record.environment["dirty"]


def test_the_tables_are_up_to_date(today: Path) -> None:
    assert names(EXAMPLE, "tables") == names(today, "tables")
    for file in sorted((EXAMPLE / "tables").iterdir()):
        if file.suffix != ".parquet":
            assert file.read_text() == (today / "tables" / file.name).read_text(), file.name


def test_the_figures_are_up_to_date(today: Path) -> None:
    assert names(EXAMPLE, "figures") == names(today, "figures")
    for file in sorted((EXAMPLE / "figures").glob("*.png")):
        old, new = (np.asarray(Image.open(f).convert("L"), dtype=float) for f in (file, today / "figures" / file.name))
        assert old.shape == new.shape, file.name
        assert np.abs(old - new).mean() < 0.5, file.name  # of 255: another processor may shade an edge differently


def test_the_page_is_up_to_date(today: Path) -> None:
    old, new = (PICTURE.sub("picture", (folder / "report.html").read_text()) for folder in (EXAMPLE, today))
    assert old == new
