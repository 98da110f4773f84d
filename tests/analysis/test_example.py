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
from bench.inputs.synthetic._wrong_classes import BEST_ACCURACY
from bench.records.io import read_record

EXAMPLE = Path(__file__).parents[2] / "results" / "demo" / "example"
LABELS = {"mnli": 3, "sst2": 2, "cola": 2, "qnli": 2}
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


def share_of_the_way(cell_id: str, task: str) -> dict[str, float]:
    """Score of each classification metric and split, on the way from chance (0) to the best possible score (1)."""
    chances = {"accuracy": 1 / LABELS[task], "mcc": 0.0}
    bests = {"accuracy": BEST_ACCURACY, "mcc": 2 * BEST_ACCURACY - 1}
    found = read_record(EXAMPLE / "cells" / cell_id / "record.json").metrics
    return {
        f"{split} {metric}": (score - chances[metric]) / (bests[metric] - chances[metric])
        for split, scores in found.items()
        for metric, score in scores["last"].items()
    }


def test_every_method_learned_every_task() -> None:
    for cell in load_study("demo").cells:
        if cell.task.name in LABELS:
            assert min(share_of_the_way(cell.id, cell.task.name).values()) >= 0.6, cell.id


@pytest.mark.parametrize("budget", ["small", "large"])
def test_adalora_is_near_lora_on_every_task(budget: str) -> None:
    for task in load_study("demo").study.tasks:
        scores = [
            read_record(EXAMPLE / "cells" / task / method / budget / "seed-0" / "record.json").reported.value
            for method in ("lora", "adalora")
        ]
        assert abs(scores[0] - scores[1]) <= 0.1, task


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
