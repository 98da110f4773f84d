"""A command that is run by hand sees the same cells as the pipeline does with the same options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.pipeline.run_options import RunOptions
from bench.pipeline.snakemake_config import pipeline_from

Spoil = Callable[[str, str, str], Path]


def test_a_mirror_makes_a_study_of_generated_rows_read_real_ones(workflow: Path) -> None:
    plain = RunOptions(study="s", workflow=workflow)
    assert {cell.data.source for cell in plain.load_study().cells} == {"embedded"}
    by_hand = RunOptions(study="s", workflow=workflow, mirror=workflow, overrides=("seeds=[3]",)).load_study()
    from_pipeline = pipeline_from({"study": "s", "workflow": workflow, "mirror": workflow, "set": "seeds=[3]"})
    assert by_hand.cells == from_pipeline.cells
    assert {cell.data.source for cell in by_hand.cells} == {"hub"}


def test_a_study_of_a_mirror_needs_one_to_train(spoil: Spoil) -> None:
    folder = spoil("studies/s.yaml", "data: embedded", "data: mirror")
    without = RunOptions(study="s", workflow=folder)
    with pytest.raises(BenchError, match=r"study 's' reads a mirror folder: add --mirror DIR"):
        without.load_study(needs_rows=True)
    with_mirror = RunOptions(study="s", workflow=folder, mirror=Path("somewhere"))
    assert with_mirror.load_study(needs_rows=True).cells
    assert without.load_study().cells  # its records are enough for tables and status
