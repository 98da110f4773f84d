"""A cell of a question-answering task: its rows are windows, and all that is said of it counts questions."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from helpers.lab_models import STEPS
from helpers.small_cells import Lab, record_of

from bench.cli.app import main
from bench.config.resolve import load_study
from bench.estimate.plan import plan
from bench.inputs import synthetic
from bench.inputs.cache_keys import data_folder
from bench.inputs.datasets import open_data
from bench.records.io import read_record
from bench.training.holdout import hold_out


def test_a_cell_from_its_windows_to_its_scores(questions: Lab, tmp_path: Path) -> None:
    cell, out = questions.prepare(questions.cell("adalora", rows=24, holdout_rows=5)), tmp_path / "study" / "cell"
    data = open_data(data_folder(cell.task, cell.backbone, cell.data, None, questions.cache))
    train, held_out = hold_out(data.train, 5)
    assert len(data.train) > len(data.train.examples) == 24  # some contexts are read in two windows
    assert len(held_out.examples) == 5
    assert set(train.rows).isdisjoint(held_out.rows)
    assert len(train) + len(held_out) == len(data.train)

    assert questions.train(cell, out, every=None) == 0
    record, said = record_of(out), pd.read_parquet(out / "predictions.parquet")
    assert record.training.steps == STEPS
    assert record.parameters.head == 2 * 64 + 2  # start and end of 64 features
    assert said["row"].tolist() == list(range(16))  # one row per question
    rows = synthetic.rows("reports", "validation")
    assert [json.loads(text) for text in said["reference"]] == [target["text"] for target in rows.targets[:16]]
    assert all(text in context for text, (_, context) in zip(said["prediction"], rows.texts, strict=False))
    found = record.metrics["validation"]["last"]
    assert found == {m: pytest.approx(said[f"score_{m}"].mean()) for m in ("exact_match", "f1")}
    assert main(["evaluate", str(out), "--cache", str(questions.cache), "--out", str(tmp_path / "out")]) == 0
    assert read_record(tmp_path / "out" / "record.json").metrics == record.metrics


def test_plans_count_windows_once_they_are_prepared(tmp_path: Path) -> None:
    values = ["data=embedded", "limits.train_rows=48", "limits.evaluation_rows=8", "recipe.max_length=40"]
    values += ["recipe.holdout_rows=8", "recipe.epochs=2", "recipe.batch_size=8", "methods=[lora]"]
    study = load_study("questions", [*values, "overrides={squad: {answers: {stride: 8}}}"])
    (cell,) = study.cells
    lab = Lab(tmp_path / "cache", Path(), cell.task.kind)
    (before,) = plan(study, results=tmp_path, cache=lab.cache)
    data = open_data(data_folder((lab.prepare(cell)).task, cell.backbone, cell.data, None, lab.cache))
    (after,) = plan(study, results=tmp_path, cache=lab.cache)
    assert before["head_parameters"] == {"qa_outputs": 2 * 384 + 2}
    assert before["predicted_peak"]["total_bytes"] > 0
    assert before["steps"] == 2 * 40 / 8
    windows = len(hold_out(data.train, 8)[0])
    assert after["steps"] == 2 * -(-windows // 8) > before["steps"]
