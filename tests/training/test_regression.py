"""A task whose target is a number, from its generated rows to its record, and scored again from what was saved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.small_cells import Lab, record_of
from scipy import stats

from bench.cli.app import main
from bench.config.resolve import load_study
from bench.records.io import read_record

STSB = [
    "tasks=[stsb]",
    "recipe_from=null",
    "backbones={regression: minilm}",
    "overrides={}",
    "recipe.learning_rate=2e-3",
    "recipe.batch_size=16",
    "limits.train_rows=640",
    "limits.evaluation_rows=100",
]


@pytest.mark.long
@pytest.mark.parametrize(("method", "steps"), [("lora", 40), ("qlora_adalora", 4)])
def test_numbers_are_learned_and_scored(tmp_path: Path, method: str, steps: int) -> None:
    cell = load_study("demo", [*STSB, f"recipe.max_steps={steps}"]).find("stsb", method, "small", 0)
    lab = Lab(tmp_path / "cache", Path(), "regression")
    out = tmp_path / "study" / "cell"
    assert lab.train(lab.prepare(cell), out, every=None) == 0
    record, said = record_of(out), pd.read_parquet(out / "predictions.parquet")
    reference, prediction = said["reference"], said["prediction"]
    assert set(reference) == set(map(float, range(6)))
    found = record.metrics["validation"]["last"]
    assert found["pearson"] == pytest.approx(stats.pearsonr(reference, prediction).statistic)
    assert found["spearman"] == pytest.approx(stats.spearmanr(reference, prediction).statistic)
    assert record.reported.value == pytest.approx((found["pearson"] + found["spearman"]) / 2)
    assert record.loss["validation"] == pytest.approx(float(np.mean((reference - prediction) ** 2)), rel=1e-4)
    if steps == 40:
        assert found["pearson"] > 0.5  # not by chance on 100 rows
    assert main(["evaluate", str(out), "--cache", str(lab.cache), "--out", str(tmp_path / "out")]) == 0
    assert read_record(tmp_path / "out" / "record.json").metrics == record.metrics
