"""A repetition with other bits: what differs and how far, and whether its score is within the recorded spread."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.reproductions import Archive, add_seed, answer_otherwise, rewrite
from helpers.small_cells import record_of
from scipy import stats

from bench.analysis.stats.without_texts import without_texts
from bench.config.catalog import load_catalog
from bench.config.task import Task
from bench.paths import CellPaths
from bench.records.differences import environment_differences
from bench.reproduction.comparison import Outcome, compare, curve_difference, prediction_difference
from bench.reproduction.recorded import read_recorded
from bench.reproduction.spread import recorded_spread

STEP = 4


def shift_loss(folder: Path, by: float) -> None:
    """Change the loss of one step in the recorded curve."""
    file = folder / "curve.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines[STEP - 1]["loss"] += by
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_what_differs_and_how_far(one_cell: Archive, folder: Path, capsys: pytest.CaptureFixture) -> None:
    """A single seed: the spread is that of its score over its examples."""
    shift_loss(folder, 0.125)
    wrong = answer_otherwise(folder, 1)
    rewrite(folder, lambda r: r.model_copy(update={"environment": {**r.environment, "python": "3.0", "threads": 7}}))
    code, found = one_cell.reproduced(folder)
    (entry,) = found["cells"]
    compared = entry["comparison"]
    assert code == found["code"] == entry["code"] == 3
    assert compared["curve"] == {"first_step": STEP, "largest": pytest.approx(0.125), "at_step": STEP}
    assert compared["predictions"] == {"differing": 1, "examples": 16, "only_in_one": 0}
    assert compared["recorded"] == wrong
    assert compared["difference"] == pytest.approx(compared["repeated"] - wrong)
    assert compared["files"] == ["curve.jsonl", "predictions.parquet"]
    assert compared["fields"] == ["metrics", "reported"]
    assert {"python", "threads"} <= entry["environment"].keys()
    assert entry["environment"]["threads"] == {"recorded": 7, "here": 1}
    printed = capsys.readouterr().out
    assert "within the spread" in printed
    assert (
        f"step {STEP} is the first that differs; the largest difference of a loss is 0.125, at step {STEP}" in printed
    )
    assert "predictions: 1 of 16 differ" in printed
    assert "95% over the 16 examples of this one seed" in printed
    assert "environment, threads: 7 in the record, 1 here" in printed


@pytest.mark.parametrize(("spread", "code"), [(0.3, 3), (0.01, 4)])
def test_three_seeds_show_their_spread(one_cell: Archive, folder: Path, spread: float, code: int) -> None:
    """Student's prediction interval for one more seed, from all that are recorded, the repeated one among them."""
    recorded = answer_otherwise(folder, 5)
    scores = [recorded, recorded + spread, recorded - spread]
    for seed, value in enumerate(scores[1:], start=1):
        add_seed(folder, seed, value)
    found_code, found = one_cell.reproduced(folder)
    compared = found["cells"][0]["comparison"]
    low, high = stats.t.interval(0.95, 2, loc=np.mean(scores), scale=np.std(scores, ddof=1) * np.sqrt(1 + 1 / 3))
    assert compared["spread"]["low"] == pytest.approx(low)
    assert compared["spread"]["high"] == pytest.approx(high)
    assert compared["spread"]["how"] == "95% for a further seed, from 3 seeds"
    assert found_code == code
    assert (low <= compared["repeated"] <= high) == (code == 3)


def test_other_bits_with_the_same_score_are_within(one_cell: Archive, folder: Path) -> None:
    shift_loss(folder, 1e-7)
    rewrite(folder)
    code, found = one_cell.reproduced(folder)
    assert code == 3
    assert found["cells"][0]["comparison"]["files"] == ["curve.jsonl"]
    assert found["cells"][0]["comparison"]["difference"] == 0


def test_a_group_without_a_spread_falls_back_on_the_examples(folder: Path) -> None:
    """Seeds that tie, and seeds of another spec, show no spread."""
    record = record_of(folder)
    assert record.reported is not None
    assert record.reported.value is not None
    for seed in (1, 2):
        add_seed(folder, seed, record.reported.value)
    recorded, task = read_recorded(folder / "record.json"), Task.model_validate(record.spec["task"])
    spread = recorded_spread(recorded, task)
    assert spread is not None
    assert spread.how == "95% over the 16 examples of this one seed"
    assert spread.low < record.reported.value < spread.high or record.reported.value in (spread.low, spread.high)
    (folder / "predictions.parquet").unlink()
    assert recorded_spread(recorded, task) is None
    paths = CellPaths(folder)
    other = record.model_copy(update={"reported": record.reported.model_copy(update={"value": 0.123})})
    assert compare(task, record, paths, other, paths, None).outcome is Outcome.OUTSIDE
    assert compare(task, record, paths, record, paths, None).outcome is Outcome.SAME


def test_a_status_that_changes_is_outside(folder: Path) -> None:
    record, paths = record_of(folder), CellPaths(folder)
    task = Task.model_validate(record.spec["task"])
    diverged = record.model_copy(update={"status": "diverged", "reported": None, "message": "at step 3"})
    assert compare(task, record, paths, diverged, paths, None).outcome is Outcome.OUTSIDE
    later = diverged.model_copy(update={"message": "at step 4"})
    assert compare(task, diverged, paths, later, paths, None).outcome is Outcome.WITHIN
    assert compare(task, diverged, paths, diverged, paths, None).outcome is Outcome.SAME


def test_curves() -> None:
    lines = [{"step": step, "loss": 1.0 / step} for step in range(1, 6)]
    assert curve_difference(lines, [dict(line) for line in lines]) is None
    shorter = curve_difference(lines, lines[:3])
    assert shorter is not None
    assert (shorter.first_step, shorter.largest) == (4, None)
    other = [*lines[:1], {"step": 2, "loss": 0.75}, {"step": 3, "loss": None}, *lines[3:]]
    found = curve_difference(lines, other)
    assert found is not None
    assert (found.first_step, found.largest, found.at_step) == (2, 0.25, 2)


def test_predictions_of_other_rows() -> None:
    first = {"v": {"row": np.arange(4), "reference": np.zeros(4), "prediction": np.array(["a", "b", "c", "d"])}}
    order = np.array([2, 0, 3])
    second = {"v": {name: values[order] for name, values in first["v"].items()}}
    found = prediction_difference(first, second)
    assert found is not None
    assert (found.differing, found.examples, found.only_in_one) == (0, 3, 1)
    assert prediction_difference(first, {"v": {name: values[::-1] for name, values in first["v"].items()}}) is None
    second = {"v": {**first["v"], "prediction": np.array(["a", "b", "x", "d"])}}
    changed = prediction_difference(first, second)
    assert changed is not None
    assert (changed.differing, changed.only_in_one) == (1, 0)


@pytest.mark.parametrize("last", ["ein Hund", "eine Katze"])
def test_predictions_of_a_bundle_are_compared_without_texts(folder: Path, tmp_path: Path, last: str) -> None:
    """A bundle has hashes where the repetition has texts; what a model wrote of its own still counts."""
    task = load_catalog().tasks["multi30k_en_de"].item
    rows = {"split": ["test"] * 2, "row": [0, 1], "reference": ["der Park", "ein Hund"]}
    bundled, again = CellPaths(tmp_path / "bundled"), CellPaths(tmp_path / "again")
    for paths, second in ((bundled, "ein Hund"), (again, last)):
        paths.folder.mkdir()
        pd.DataFrame({**rows, "prediction": ["ein Park", second]}).to_parquet(paths.predictions, index=False)
    recorded = record_of(folder).model_copy(update={"files": {"predictions.parquet": "of the whole file"}})
    bundled.predictions.write_bytes(without_texts(task, bundled.predictions.read_bytes()))
    assert "Hund" not in str(pd.read_parquet(bundled.predictions).to_dict())
    repeated = recorded.model_copy(update={"files": {"predictions.parquet": "of its own"}})
    found = compare(task, recorded, bundled, repeated, again, None)
    if last == "ein Hund":
        assert found.outcome is Outcome.SAME
    else:
        assert found.predictions is not None
        assert (found.predictions.differing, found.predictions.examples) == (1, 2)


def test_an_environment_of_an_older_version(folder: Path) -> None:
    record = record_of(folder)
    known = {name: value for name, value in record.environment.items() if name != "cpu_capability"}
    older = record.model_copy(update={"environment": {**known, "machine": "elsewhere"}})
    differences = environment_differences(older, record)
    assert differences.keys() == {"cpu_capability"}
    assert differences["cpu_capability"][0] == "not recorded"
