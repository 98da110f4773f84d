"""The table of tuning: chosen values, held-out scores, trials and their cost, for every kind of value and task."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest
from helpers.records import study_of, write_study
from helpers.tuned import rate, tuned_study, write_final_cells, write_trials

from bench.analysis.build import make_tables
from bench.analysis.results import read_results
from bench.analysis.tables.model import Entry, Table
from bench.analysis.tables.resources import cost_table
from bench.analysis.tables.tuning import tuning_table
from bench.config.cell import Cell
from bench.config.resolve import ResolvedStudy, load_study

ONE = ("tasks=[sst2]", "seeds=[0]")
GRID = (*ONE, "tuning.trials=null")


@pytest.fixture(scope="module")
def study() -> ResolvedStudy:
    return tuned_study(*ONE)


def table_of(study: ResolvedStudy, results: Path) -> Table:
    write_final_cells(study, results)
    return tuning_table(read_results(study, results))


def rows_of(table: Table) -> dict[str, Mapping[str, Entry]]:
    """By the method's label, the entries of its row by column."""
    names = [column.full_name for column in table.columns]
    return {row[1].text: dict(zip(names, row, strict=True)) for row in table.rows}


def text_of(study: ResolvedStudy, results: Path, column: str, method: str = "LoRA") -> str:
    return rows_of(table_of(study, results))[method][column].shown


def value_of(cell: Cell, key: str) -> object:
    assert cell.trial is not None
    return cell.trial.values[key]


def test_each_method_has_its_own_value_score_trials_and_cost(tmp_path: Path, study: ResolvedStudy) -> None:
    rates = sorted(rate(trial) for trial in study.trials["sst2/lora/small"])
    best = {"lora": rates[2], "adalora": rates[3]}
    write_trials(study, tmp_path, lambda cell: 0.9 if rate(cell) == best[cell.method.name] else 0.6)
    rows = rows_of(table_of(study, tmp_path))
    assert {label: row["learning_rate, chosen"].value for label, row in rows.items()} == {
        "LoRA": best["lora"],
        "AdaLoRA": best["adalora"],
    }
    lora = rows["LoRA"]
    assert (lora["score, held-out"].text, lora["score, held-out"].n) == ("90.00 (1)", 1)
    assert (lora["rows, held-out"].text, lora["scored, trials"].text) == ("200", "6 of 6")
    assert lora["chosen by, held-out"].text == "accuracy"
    assert lora["cpu [h], trials"].value == pytest.approx(6 * 11.1 / 3600)
    assert lora["share of the cost [%], trials"].value == pytest.approx(100 * 6 / 7)  # of six trials and one cell


def test_the_table_of_cost_has_the_share_of_the_trials_only_in_a_study_that_tunes(
    tmp_path: Path, study: ResolvedStudy
) -> None:
    write_trials(study, tmp_path, lambda _: 0.7)
    write_final_cells(study, tmp_path)
    row = rows_of(cost_table(read_results(study, tmp_path)))["LoRA"]
    assert row["trials [%]"].value == pytest.approx(100 * 6 / 7)
    plain = study_of(1, "tasks=[sst2]", "methods=[lora]")
    write_study(plain, tmp_path)
    assert "trials [%]" not in rows_of(cost_table(read_results(plain, tmp_path)))["LoRA"]


def test_a_score_has_the_spread_of_its_trial_seeds(tmp_path: Path) -> None:
    two_seeds = tuned_study(*ONE, "tuning.seeds=[100, 101]")
    write_trials(two_seeds, tmp_path, lambda cell: 0.80 if cell.seed == 100 else 0.82)
    row = rows_of(table_of(two_seeds, tmp_path))["LoRA"]
    assert row["score, held-out"].text == "81.00 ± 1.41 (2)"
    assert row["scored, trials"].text == "12 of 12"


@pytest.mark.parametrize(("end", "remark"), [(min, "lowest tried"), (max, "highest tried")])
def test_a_value_at_the_edge_of_what_was_tried_is_marked(
    tmp_path: Path, study: ResolvedStudy, end: object, remark: str
) -> None:
    assert callable(end)
    edge = end(rate(trial) for trial in study.trials["sst2/lora/small"])
    write_trials(study, tmp_path, lambda cell: 0.9 if rate(cell) == edge else 0.6)
    table = table_of(study, tmp_path)
    assert rows_of(table)["LoRA"]["learning_rate, chosen"].remark == remark
    assert any(
        "At the edge" in note and f"SST-2, small: LoRA (learning_rate {edge:g}" in note for note in table.footnotes
    )


def test_a_tie_goes_to_the_lower_loss_and_then_to_the_first_point(tmp_path: Path, study: ResolvedStudy) -> None:
    drawn = [rate(trial) for trial in study.trials["sst2/lora/small"]]
    write_trials(study, tmp_path, lambda _: 0.7, lambda cell, _: 0.1 if rate(cell) == drawn[3] else 0.2)
    assert rows_of(table_of(study, tmp_path))["LoRA"]["learning_rate, chosen"].value == drawn[3]
    write_trials(study, tmp_path, lambda _: 0.7, lambda _cell, _score: 0.2)
    assert rows_of(table_of(study, tmp_path))["LoRA"]["learning_rate, chosen"].value == drawn[0]


def test_failed_undefined_and_missing_trials_stand_beside_the_scored_ones(tmp_path: Path, study: ResolvedStudy) -> None:
    outcomes = dict(
        zip(
            (trial.id for trial in study.trials["sst2/lora/small"]),
            (0.7, "diverged", "oom", None, "missing", 0.8),
            strict=True,
        )
    )
    write_trials(study, tmp_path, lambda cell: outcomes.get(cell.id, 0.7))
    entry = rows_of(table_of(study, tmp_path))["LoRA"]["scored, trials"]
    assert entry.shown == "2 of 6, 1 diverged, 1 OOM, 1 undefined, 1 missing"
    assert (entry.value, entry.n) == (2, 6)


def test_two_tuned_keys_have_a_column_each(tmp_path: Path) -> None:
    two = tuned_study(*ONE, "tuning.space.warmup_steps={from: 0, to: 20}")
    write_trials(two, tmp_path, lambda cell: 0.5 + rate(cell))
    row = rows_of(table_of(two, tmp_path))["LoRA"]
    best = max(two.trials["sst2/lora/small"], key=rate)
    assert row["learning_rate, chosen"].value == rate(best)
    assert row["warmup_steps, chosen"].value == value_of(best, "warmup_steps")


@pytest.mark.parametrize(
    ("key", "values", "best", "text"),
    [
        ("decay", "[constant, linear]", "linear", "linear"),
        ("head_dropout", "[0.1, null]", None, "null"),
        ("adam_betas", "[[0.9, 0.999], [0.85, 0.95]]", [0.85, 0.95], "[0.85, 0.95]"),
        (
            "rank_schedule",
            "[null, {initial_steps: 4, final_steps: 8, interval: 2}]",
            {"initial_steps": 4, "final_steps": 8, "interval": 2},
            '{"initial_steps": 4, "final_steps": 8, "interval": 2}',
        ),
    ],
)
def test_values_that_are_no_numbers_are_written_as_in_yaml_and_have_no_edge(
    tmp_path: Path, key: str, values: str, best: object, text: str
) -> None:
    study = tuned_study(*GRID, "tuning.space.learning_rate=[0.001, 0.002, 0.004]", f"tuning.space.{key}={values}")
    write_trials(study, tmp_path, lambda cell: 0.9 if value_of(cell, key) == best and rate(cell) == 0.002 else 0.6)
    table = table_of(study, tmp_path)
    entry = rows_of(table)["LoRA"][f"{key}, chosen"]
    assert (entry.text, entry.value, entry.remark) == (text, None, "")
    assert not any("At the edge" in note for note in table.footnotes)


def test_a_loss_is_shown_as_it_is(tmp_path: Path) -> None:
    by_loss = tuned_study(*ONE, "tuning.choose_by=loss")
    last = rate(by_loss.trials["sst2/lora/small"][-1])
    write_trials(by_loss, tmp_path, lambda _: 0.7, lambda cell, _: 0.3456 if rate(cell) == last else 0.5)
    table = table_of(by_loss, tmp_path)
    row = rows_of(table)["LoRA"]
    assert (row["chosen by, held-out"].text, row["score, held-out"].text) == ("loss", "0.3456 (1)")
    assert row["learning_rate, chosen"].value == last
    assert any("lowest loss" in note for note in table.footnotes)


@pytest.mark.parametrize(
    ("task", "backbone", "metric", "score", "shown"),
    [
        ("stsb", "classification: minilm, regression: minilm", "mean of r and ρ", -0.25, "−25.00 (1)"),
        ("cnn_dailymail", "summarization: tiny-bart", "ROUGE-1", 0.3, "30.00 (1)"),
    ],
)
def test_tasks_of_other_kinds_have_their_own_metric(
    tmp_path: Path, task: str, backbone: str, metric: str, score: float, shown: str
) -> None:
    study = tuned_study("seeds=[0]", f"tasks=[{task}]", f"backbones={{{backbone}}}", "recipe.max_length=64")
    write_trials(study, tmp_path, lambda _: score, lambda _cell, _score: 2.0)
    row = rows_of(table_of(study, tmp_path))["LoRA"]
    assert (row["chosen by, held-out"].text, row["score, held-out"].text) == (metric, shown)


def test_the_trials_are_a_data_frame_with_a_row_per_trial_and_metric(tmp_path: Path) -> None:
    study = tuned_study("tasks=[cola]", "seeds=[0]", "tuning.space.decay=[linear, constant]")
    first = study.trials["cola/lora/small"][0]
    write_trials(study, tmp_path, lambda cell: "diverged" if cell.id == first.id else 0.25 + rate(cell))
    write_final_cells(study, tmp_path)
    files = make_tables(study, tmp_path)
    file = tmp_path / "tuned" / "tables" / "trials.parquet"
    assert file in files
    frame = pd.read_parquet(file)
    of_one = frame[(frame["method"] == "lora") & (frame["point"] == first.trial.point)] if first.trial else frame
    assert of_one["status"].tolist() == ["diverged"]
    assert of_one["value"].isna().all()
    scored = frame[frame["metric"] == "mcc"]
    assert len(scored) == 11
    assert (scored["value"] - scored["values.learning_rate"]).to_numpy() == pytest.approx(0.25)
    assert set(frame["values.decay"]) <= {"linear", "constant"}
    assert set(frame[frame["chosen"]].groupby("method")["point"].nunique()) == {1}
    assert {"loss", "accuracy", "mcc"} == set(frame["metric"].dropna())


def test_a_study_without_tuning_has_neither_the_table_nor_the_frame(tmp_path: Path) -> None:
    study = load_study("fair-budget", ["tasks=[sst2]", "seeds=[0]"])
    folder = write_study(study, tmp_path)
    make_tables(study, tmp_path)
    names = {file.name for file in (folder / "tables").iterdir()}
    assert "tidy.parquet" in names
    assert not [name for name in names if "tuning" in name or "trials" in name]
    assert "tuned" not in (folder / "tables" / "methods.md").read_text()
