"""A metric of which less is better, and which is no fraction: resampled rows, verdicts, bold, units, words."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.records import make_record
from helpers.results import Rows, StudyInMemory

from bench.analysis.compare.report import drops, report_on
from bench.analysis.compare.sides import Side, paired
from bench.analysis.figures.differences import difference_figure
from bench.analysis.figures.trade_off import COSTS, trade_off_panel
from bench.analysis.sentences import answer_sentences
from bench.analysis.stats.comparison import Comparer, Contrast
from bench.analysis.stats.perplexity import perplexity_sums
from bench.analysis.stats.resampling import Sums, replicates
from bench.analysis.tables.comparisons import comparison_table
from bench.analysis.tables.model import Table
from bench.analysis.tables.overall import overall_table
from bench.analysis.tables.render import latex, markdown
from bench.analysis.tables.scores import Shown, pair_table, score_table
from bench.analysis.verdicts import Outcome, verdicts
from bench.config.cell import Cell
from bench.config.resolve import ResolvedStudy, load_study
from bench.paths import StudyPaths
from bench.records.io import write_record

ROWS = 80
SEEDS = 4
PAIR = ("lora", "adalora")
LANGUAGE = ("overrides.gsm8k.metrics=[perplexity]", "overrides.gsm8k.extract=null", "overrides.gsm8k.generation=null")


@cache
def study_of(*tasks: str) -> ResolvedStudy:
    words = ("methods=[lora, adalora]", f"tasks=[{', '.join(tasks)}]", f"seeds={list(range(SEEDS))}")
    return load_study("decoders", [*words, *LANGUAGE, "overrides.arc_easy.metrics=[accuracy]"])


def rows_of(cell: Cell, gain: float) -> Rows:
    """Losses per row, of 3 to 19 tokens; AdaLoRA's are lower by `gain` nats per token. Options: 4 in 5 are right."""
    draw = np.random.default_rng([cell.seed, len(cell.method.name)])
    shared = np.random.default_rng(0)
    rows: Rows = {"row": np.arange(ROWS), "reference": np.arange(ROWS) % 4}
    if cell.task.name != "gsm8k":
        right = shared.random(ROWS) < 0.8
        return {**rows, "prediction": np.where(right, rows["reference"], -1)}
    tokens = shared.integers(3, 20, ROWS)
    per_token = 2 + shared.normal(0, 0.3, ROWS) + draw.normal(0, 0.05, ROWS)
    found = -tokens * (per_token - gain * (cell.method.name == "adalora"))
    return {**rows, "prediction": found, "loglikelihood": found, "target_tokens": tokens}


@cache
def comparer_of(*tasks: str, gain: float = 0.2) -> Comparer:
    study = study_of(*tasks)
    return StudyInMemory(study).comparer_of({cell.id: rows_of(cell, gain) for cell in study.cells})


def test_a_resample_has_the_perplexity_of_the_rows_that_were_drawn() -> None:
    draw = np.random.default_rng(1)
    tokens = draw.integers(1, 30, ROWS)
    losses = tokens * draw.gamma(2.0, 1.0, ROWS)
    sums = perplexity_sums({"loglikelihood": -losses, "target_tokens": tokens})
    assert sums is not None
    found = replicates([sums], "t/validation", 25)[:, 0]
    counts = np.stack([replicates([_counted(row)], "t/validation", 25)[:, 0] for row in range(ROWS)], axis=1).astype(
        int
    )
    assert counts.sum(axis=1).tolist() == [ROWS] * 25
    alone = [np.exp(np.repeat(losses, n).sum() / np.repeat(tokens, n).sum()) for n in counts]
    assert found == pytest.approx(alone, rel=1e-12)
    assert perplexity_sums({"loglikelihood": -losses}) is None


def _counted(row: int) -> Sums:
    """How often a resample holds the row."""
    return Sums((np.arange(ROWS) == row).astype(float)[:, None], lambda sums: np.rint(sums[..., 0]))


def test_the_interval_is_over_rows_and_seeds_in_units_of_perplexity() -> None:
    study = study_of("gsm8k")
    comparison = comparer_of("gsm8k").compare(Contrast("gsm8k", "test", "perplexity", "small", *PAIR))
    assert comparison is not None
    values = {}
    for cell in study.cells:
        rows = rows_of(cell, 0.2)
        values[cell.method.name, cell.seed] = np.exp(-rows["loglikelihood"].sum() / rows["target_tokens"].sum())
    by_hand = np.mean([values["adalora", seed] - values["lora", seed] for seed in range(SEEDS)])
    assert comparison.difference == pytest.approx(float(by_hand))
    assert comparison.difference < -1  # e^1.8 less e^2
    assert comparison.examples == ROWS
    assert comparison.interval is not None
    assert comparison.interval.low < comparison.difference < comparison.interval.high < 0
    # The rows' part of the spread, against a bootstrap by hand of one pair of trainings.
    first, second = (rows_of(study.find("gsm8k", method, "small", 0), 0.2) for method in PAIR)
    draw = np.random.default_rng(5)
    drawn = draw.integers(0, ROWS, (4000, ROWS))

    def resampled(rows: Rows) -> np.ndarray:
        return np.exp(-rows["loglikelihood"][drawn].sum(1) / rows["target_tokens"][drawn].sum(1))

    spread = float((resampled(second) - resampled(first)).std())
    assert comparison.interval.example_variance**0.5 == pytest.approx(spread, rel=0.35)


@pytest.mark.parametrize(("gain", "outcome", "bold"), [(0.2, Outcome.BETTER, "AdaLoRA"), (-0.2, Outcome.WORSE, "LoRA")])
def test_the_lower_perplexity_is_better_and_bold(gain: float, outcome: Outcome, bold: str) -> None:
    comparer = comparer_of("gsm8k", gain=gain)
    (verdict,) = verdicts(comparer)
    assert verdict.outcome is outcome
    table = score_table(comparer, Shown("methods", "All methods", PAIR))
    assert table is not None
    marked = {row[3].text: row[4].bold for row in table.rows}
    assert [method for method, is_bold in marked.items() if is_bold] == [bold]
    pair = pair_table(comparer, Shown("lora_adalora", "LoRA against AdaLoRA", PAIR))
    assert pair is not None
    assert [column.name for column, entry in zip(pair.columns, pair.rows[0], strict=True) if entry.bold] == [bold]
    assert (pair.rows[0][5].value or 0) * gain < 0  # second less first


def test_tables_say_the_unit_and_the_direction() -> None:
    comparer = comparer_of("gsm8k")
    table = score_table(comparer, Shown("methods", "All methods", PAIR))
    assert table is not None
    assert table.title == "All methods: perplexity, mean ± sd over 4 seeds, (n) where fewer"
    lora = next(row for row in table.rows if row[3].text == "LoRA")
    assert lora[1].text == "perplexity ↓"
    records = comparer.results.records_of("gsm8k", "lora", "small")
    values = [record.metrics["test"]["last"]["perplexity"] for record in records]
    assert lora[4].text.startswith(f"{np.mean(values):.2f} ± ")  # no factor of 100
    assert "↓: smaller is better (perplexity)." in table.footnotes
    assert not any(column.unit for column in table.columns)
    compared = comparison_table(comparer)
    assert compared.title == "Paired comparisons: differences in perplexity"
    assert "↓: smaller is better (perplexity), so a negative difference is an improvement." in compared.footnotes
    assert "perplexity $\\downarrow$" in latex(compared)
    (sentence,) = answer_sentences(comparer.results, verdicts(comparer))
    assert "better on 1 of 1 task (GSM8K −" in sentence
    assert " in perplexity)" in sentence
    assert sentence.endswith("; smaller is better in perplexity.")


def test_beside_points_each_keeps_its_own_unit() -> None:
    comparer = comparer_of("gsm8k", "arc_easy")
    table = score_table(comparer, Shown("methods", "All methods", PAIR))
    assert table is not None
    assert "points (fraction × 100), perplexity as it is, mean" in table.title
    by_task = {row[0].text: row[4] for row in table.rows}
    assert by_task["ARC-Easy"].value == pytest.approx(80, abs=10)
    assert 5 < (by_task["GSM8K"].value or 0) < 9
    (sentence,) = answer_sentences(comparer.results, verdicts(comparer))
    assert "smallest difference this study could find: " in sentence
    assert " in perplexity (GSM8K)" in sentence
    assert overall_table(comparer.results) is None  # one task is left, whose mean says nothing


def test_figures_name_the_metric_and_ring_the_lower_score() -> None:
    comparer = comparer_of("gsm8k")
    figure = difference_figure(comparer.results, verdicts(comparer))
    assert figure is not None
    assert figure.axes[0].get_xlabel().endswith("in perplexity\n[smaller is better]")
    panel = trade_off_panel(comparer.results, "gsm8k", COSTS[1])
    axis = panel.axes[0]
    assert axis.get_ylabel() == "perplexity [smaller is better]"
    front = next(points for points in axis.collections if points.get_label() == "Pareto front").get_offsets()
    records = comparer.results.records_of("gsm8k", "adalora", "small")  # it takes more memory than LoRA
    best = np.mean([record.metrics["test"]["last"]["perplexity"] for record in records])
    assert np.asarray(front)[:, 1].min() == pytest.approx(float(best))


def _write(study: ResolvedStudy, results: Path, gain: float) -> StudyPaths:
    paths = StudyPaths(results, study.name)
    for cell in study.cells:
        rows = rows_of(cell, gain)
        value = float(np.exp(-rows["loglikelihood"].sum() / rows["target_tokens"].sum()))
        folder = paths.cell(cell.id).folder
        folder.mkdir(parents=True)
        pd.DataFrame({**rows, "split": "test"}).to_parquet(folder / "predictions.parquet", index=False)
        write_record(make_record(cell, {"test": {"perplexity": value}}), folder)
        (folder / "curve.jsonl").write_text(json.dumps({"step": 40, "loss": 0.5, "budget": 12}) + "\n")
    return paths


def test_compare_fails_over_a_perplexity_that_rose(tmp_path: Path) -> None:
    study = study_of("gsm8k")
    one, other = _write(study, tmp_path / "one", 0.2), _write(study, tmp_path / "other", 0.1)
    rose = report_on(paired(Side.at(one.folder), Side.at(other.folder)))
    fell = report_on(paired(Side.at(other.folder), Side.at(one.folder)))
    (line,) = drops(rose, 0.5)  # e^1.9 less e^1.8 is 0.64
    assert "gsm8k/adalora/small: +0.6" in line
    assert "in perplexity [+" in line
    assert drops(rose, 0.8) == drops(fell, 0.0) == []
    assert "score in perplexity" in markdown(_named(rose.tables, "groups"))


def _named(tables: list[Table], name: str) -> Table:
    return next(table for table in tables if table.name == name)
