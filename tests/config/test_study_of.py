"""A command that is run by hand sees the same cells as the pipeline does with the same options."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cli.options import add_study, study_of
from bench.errors import BenchError
from bench.pipeline.study import pipeline_of

Spoil = Callable[[str, str, str], Path]


def arguments(workflow: Path, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_study(parser)
    return parser.parse_args(["s", "--workflow", str(workflow), *words])


def test_a_mirror_makes_a_study_of_generated_rows_read_real_ones(workflow: Path) -> None:
    assert {cell.data.source for cell in study_of(arguments(workflow)).cells} == {"embedded"}
    by_hand = study_of(arguments(workflow, "--mirror", str(workflow), "--set", "seeds=[3]"))
    from_pipeline = pipeline_of({"study": "s", "workflow": workflow, "mirror": workflow, "set": "seeds=[3]"})
    assert by_hand.cells == from_pipeline.cells
    assert {cell.data.source for cell in by_hand.cells} == {"hub"}


def test_a_study_of_a_mirror_needs_one_to_train(spoil: Spoil) -> None:
    folder = spoil("studies/s.yaml", "data: embedded", "data: mirror")
    with pytest.raises(BenchError, match=r"study 's' reads a mirror folder: add --mirror DIR"):
        study_of(arguments(folder), reads=True)
    assert study_of(arguments(folder, "--mirror", "somewhere"), reads=True).cells
    assert study_of(arguments(folder)).cells  # its records are enough for tables and status
