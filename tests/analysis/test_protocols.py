"""The same trainings under several protocols: numbers planted in records and curves, and counted by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from helpers.records import make_record, study_of, write_study

from bench.analysis.build import make_tables
from bench.analysis.results import read_results
from bench.analysis.stats.comparison import Comparer
from bench.analysis.tables.model import Entry, Table
from bench.analysis.tables.protocols import protocol_table
from bench.config.cell import Cell
from bench.config.resolve import ResolvedStudy
from bench.errors import BenchError
from bench.records.io import write_record

Epochs = Mapping[int, tuple[float | None, float | None]]  # by step: score and held-out loss; a step of 40 is the last
HEADS = 5
SMALL = ("tasks=[sst2]", "methods=[lora, adalora]", "grids=[{budgets: [small]}]", "recipe.score_epochs=true")
HELD_OUT = (*SMALL, "recipe.holdout_rows=64")


def plant(
    results: Path, cell: Cell, last: float | None, epochs: Epochs | None = None, *, budgets: Mapping[int, int] = {}
) -> None:
    """Write a training of 40 steps: its record, and its curve with these epochs. `budgets`: of steps, if not 12."""
    folder, split = results / cell.study / "cells" / cell.id, cell.task.primary_split
    write_record(make_record(cell, {split: dict.fromkeys(cell.task.metrics, last)}), folder)
    lines = []
    for step in sorted({1, 40, *(epochs or {})}):
        line: dict[str, Any] = {"step": step, "loss": 0.5, "budget": budgets.get(step, 12)}
        score, loss = (epochs or {}).get(step, (None, None))
        if epochs and step in epochs and (score is not None or step < 40):
            line["scores"] = {split: dict.fromkeys(cell.task.metrics, score)}
        if epochs and step in epochs:
            line["held_out_loss"] = loss
        lines.append(json.dumps(line))
    (folder / "curve.jsonl").write_text("\n".join(lines) + "\n")


def plant_all(study: ResolvedStudy, results: Path, by_method: Mapping[str, list[tuple[float | None, Epochs]]]) -> None:
    """`by_method`: of each seed the score of the last step, and the epochs."""
    for cell in study.cells:
        plant(results, cell, *by_method[cell.method.name][cell.seed])


def table_of(study: ResolvedStudy, results: Path) -> Table:
    table = protocol_table(Comparer(read_results(study, results)))
    assert table is not None
    return table


def entries(table: Table, method: str = "AdaLoRA", group: str = "score") -> dict[str, Entry]:
    """By protocol: the scores of a method, or its differences (group 'difference'), in the table's first such row."""
    row = next(row for row in table.rows if row[3].text == method)
    found = zip(table.columns, row, strict=True)
    return {column.name.removesuffix(" [95%]"): entry for column, entry in found if group in column.group}


def texts(table: Table, method: str = "AdaLoRA", group: str = "score") -> dict[str, str]:
    return {name: entry.shown for name, entry in entries(table, method, group).items()}


# Held-out losses lead to the first epoch of LoRA's seed 0 (a tie with the second) and else to the last step.
LORA: list[tuple[float | None, Epochs]] = [
    (0.80, {10: (0.70, 0.4), 20: (0.84, 0.4), 40: (0.80, 0.5)}),
    (0.82, {10: (0.81, 0.6), 20: (0.79, 0.5), 40: (0.82, 0.4)}),
    (0.90, {10: (0.86, 0.6), 20: (0.92, 0.5), 40: (0.90, 0.3)}),
]
ADALORA: list[tuple[float | None, Epochs]] = [
    (0.83, {10: (0.99, 0.1), 20: (0.85, 0.3), 40: (0.83, 0.4)}),
    (0.84, {10: (0.99, 0.1), 20: (0.80, 0.5), 40: (0.84, 0.4)}),
    (0.82, {10: (0.99, 0.1), 20: (0.88, 0.5), 40: (0.82, 0.4)}),
]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[ResolvedStudy, Path]:
    """Three seeds of LORA and ADALORA; the adapter of the latter is above its budget in the first epoch."""
    study, results = study_of(3, *HELD_OUT), tmp_path_factory.mktemp("results")
    plant_all(study, results, {"lora": LORA, "adalora": ADALORA})
    for seed in range(3):
        plant(results, study.find("sst2", "adalora", "small", seed), *ADALORA[seed], budgets={1: 24, 10: 18})
    return study, results


def test_each_protocol_by_hand(planted: tuple[ResolvedStudy, Path]) -> None:
    table = table_of(*planted)
    assert texts(table, "LoRA") == {
        "last step": "84.00 ± 5.29 (3)",
        "best held-out step": "80.67 ± 10.07 (3)",  # 70, 82, 90
        "median seed": "82.00 (3)",
        "best epoch": "86.00 ± 5.29 (3)",  # 84, 82, 92
        "best seed": "90.00 (3)",
        "best epoch of best seed": "92.00 (3)",
    }
    assert texts(table) == {
        "last step": "83.00 ± 1.00 (3)",
        "best held-out step": "83.67 ± 1.53 (3)",  # 85, 84, 82
        "median seed": "83.00 (3)",
        "best epoch": "85.67 ± 2.08 (3)",  # 85, 84, 88: none of the 99 above the budget
        "best seed": "84.00 (3)",
        "best epoch of best seed": "88.00 (3)",
    }
    assert texts(table, group="difference") == {
        "last step": "−1.00 (3)",
        "best held-out step": "+3.00 (3)",
        "median seed": "+1.00 (3)",
        "best epoch": "−0.33 (3)",
        "best seed": "−6.00 (3)",
        "best epoch of best seed": "−4.00 (3)",
    }
    assert set(texts(table, "LoRA", "difference").values()) == {"—"}


def test_what_is_optimistic_is_named_and_has_no_interval(planted: tuple[ResolvedStudy, Path]) -> None:
    table = table_of(*planted)
    optimistic = {"best epoch", "best seed", "best epoch of best seed"}
    assert entries(table, group="optimistic score").keys() == optimistic
    assert entries(table, group="optimistic difference").keys() == optimistic
    assert all(entry.low is None for entry in entries(table, group="optimistic").values())
    notes = " ".join(table.footnotes)
    assert "Optimistic, as often published: chosen by the scores that are shown." in notes
    assert "AdaLoRA 3 of 9" in notes
    assert "LoRA 0" not in notes
    assert (
        "moves a score by up to 8.00 points: SST-2, small, LoRA, 84.00 by last step, 92.00 by best epoch of best seed."
        in notes
    )
    assert (
        "a difference to LoRA by up to 5.00 points: SST-2, small, AdaLoRA, −1.00 by last step, −6.00 by best seed. "
        "Comparisons in which it decides who is ahead: 1 of 1." in notes
    )


def test_the_interval_is_that_of_the_comparisons(tmp_path: Path) -> None:
    study = study_of(3, *SMALL[:3])
    write_study(study, tmp_path, lambda c: 0.8 + 0.03 * c.seed + 0.05 * (c.method.name == "adalora"))
    make_tables(study, tmp_path)
    folder = tmp_path / "demo" / "tables"
    ours, theirs = (pd.read_csv(folder / f"{name}.csv").iloc[-1] for name in ("protocols", "comparisons"))
    for part in ("difference", "low", "high"):
        expected = theirs[f"difference [95%]: {part}"]
        assert ours[f"last step [95%], difference to LoRA: {part}"] == pytest.approx(expected)
    best = [float(value) for value in pd.read_csv(folder / "protocols.csv")["best seed, optimistic score"]]
    assert best[1] - best[0] == pytest.approx(float(ours["best seed, optimistic difference to LoRA"]))


def test_the_last_step_counts_where_it_ends_no_epoch(tmp_path: Path) -> None:
    """Its score is in the record, its held-out loss in the curve."""
    study = study_of(1, *HELD_OUT)
    epochs: Epochs = {10: (0.7, 0.5), 30: (0.6, 0.4), 40: (None, 0.3)}
    plant_all(study, tmp_path, {"lora": [(0.9, epochs)], "adalora": [(0.5, epochs)]})
    table = table_of(study, tmp_path)
    last, best = "last step", "best epoch"
    assert texts(table, "LoRA") == {last: "90.00 (1)", "best held-out step": "90.00 (1)", best: "90.00 (1)"}
    assert texts(table) == {last: "50.00 (1)", "best held-out step": "50.00 (1)", best: "70.00 (1)"}


def test_held_out_losses_of_some_epochs_choose_none(tmp_path: Path) -> None:
    """As in curves of earlier versions, in which an allocator asked for the loss at steps of its own."""
    study = study_of(2, *HELD_OUT)
    epochs: Epochs = {10: (0.7, 0.5), 40: (0.6, 0.6)}
    plant_all(study, tmp_path, {"lora": [(0.6, epochs)] * 2, "adalora": [(0.6, epochs)] * 2})
    lora = tmp_path / "demo/cells/sst2/lora/small"
    for seed, step in ((0, 10), (1, 10), (1, 40)):
        file = lora / f"seed-{seed}" / "curve.jsonl"
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        kept = [{k: v for k, v in line.items() if k != "held_out_loss" or line["step"] != step} for line in lines]
        file.write_text("".join(json.dumps(line) + "\n" for line in kept))
    for cell in study.cells:
        if cell.method.name == "adalora" and cell.seed == 1:
            (tmp_path / "demo/cells" / cell.id / "curve.jsonl").unlink()
    table, held_out = table_of(study, tmp_path), "best held-out step"
    assert texts(table, "LoRA")[held_out] == "—"
    assert texts(table)[held_out] == "70.00 (1), 1 of 2 not taken"
    assert texts(table)["best epoch"] == "70.00 (1), 1 of 2 not taken"
    assert texts(table, group="difference")[held_out] == "—"
    assert texts(table, group="difference")["best epoch"] == "+0.00 (1)"


def test_undefined_scores_and_losses_that_are_not_finite(tmp_path: Path) -> None:
    study = study_of(2, *HELD_OUT)
    no_loss: Epochs = {10: (0.7, None), 20: (0.8, None), 40: (0.6, 0.9)}
    undefined: Epochs = {10: (None, 0.1), 20: (0.5, 0.2), 40: (None, 0.3)}
    plant_all(study, tmp_path, {"lora": [(0.6, no_loss), (None, undefined)], "adalora": [(None, undefined)] * 2})
    table = table_of(study, tmp_path)
    assert texts(table, "LoRA") == {
        "last step": "60.00 (1), 1 of 2 undefined",
        "best held-out step": "60.00 (1), 1 of 2 undefined",
        "median seed": "60.00 (1), 1 of 2 undefined",
        "best epoch": "65.00 ± 21.21 (2)",
        "best seed": "60.00 (1), 1 of 2 undefined",
        "best epoch of best seed": "80.00 (2)",
    }
    assert texts(table)["last step"] == "2 of 2 undefined"
    assert texts(table)["best epoch"] == "50.00 ± 0.00 (2)"
    assert texts(table, group="difference")["last step"] == "—"


def test_differences_are_over_the_seeds_that_both_methods_have(tmp_path: Path) -> None:
    """LoRA's best seed is one that AdaLoRA lacks."""
    study = study_of(4, *HELD_OUT)
    adalora: list[tuple[float | None, Epochs]] = [(0.7, {40: (0.7, 0.1)})] * 4
    plant_all(study, tmp_path, {"lora": [*LORA, (0.95, {40: (0.95, 0.1)})], "adalora": adalora})
    for seed, status in ((2, "diverged"), (3, None)):
        cell = study.find("sst2", "adalora", "small", seed)
        folder = tmp_path / "demo/cells" / cell.id
        (folder / "record.json").unlink()
        if status:
            write_record(make_record(cell, {}, status=status), folder)
    table = table_of(study, tmp_path)
    seeds = {row[3].text: row[4].shown for row in table.rows}
    assert seeds == {"LoRA": "4", "AdaLoRA": "2, 1 diverged, 1 missing"}
    assert texts(table, "LoRA")["best seed"] == "95.00 (4)"
    differences = texts(table, group="difference")
    assert differences["best seed"] == "−12.00 (2)"
    assert differences["last step"] == "−11.00 (2)"
    assert any(
        note.startswith("A seed of one method is missing, failed or without a score: SST-2") for note in table.footnotes
    )


def test_a_lower_score_is_better_where_the_metric_says_so(tmp_path: Path) -> None:
    words = ("tasks=[sst2_words]", "backbones={text-label: tiny-bart}", "overrides.sst2_words.metrics=[no_label]")
    study = study_of(2, *words, *HELD_OUT[1:])
    by_method: dict[str, list[tuple[float | None, Epochs]]] = {
        "lora": [(0.3, {20: (0.2, 0.5), 40: (0.3, 0.4)}), (0.1, {20: (0.4, 0.5), 40: (0.1, 0.6)})],
        "adalora": [(0.5, {20: (0.0, 0.5), 40: (0.5, 0.4)})] * 2,
    }
    plant_all(study, tmp_path, by_method)
    found = texts(table_of(study, tmp_path), "LoRA")
    assert (found["best epoch"], found["best seed"]) == ("15.00 ± 7.07 (2)", "10.00 (2)")
    assert texts(table_of(study, tmp_path))["best epoch of best seed"] == "0.00 (2)"
    assert found["best held-out step"] == "35.00 ± 7.07 (2)"  # by the loss, not by the score


def test_with_a_best_step_the_record_says_which(tmp_path: Path) -> None:
    """The other tables report it, so it has the comparison; the last step stands beside it."""
    study = study_of(2, *HELD_OUT, "selection=best")
    for cell in study.cells:
        split = cell.task.primary_split
        record = make_record(cell, {split: {"accuracy": 0.9}}, selection="best")
        both = {"best": {"accuracy": 0.9 - 0.1 * cell.seed}, "last": {"accuracy": 0.6}}
        write_record(record.model_copy(update={"metrics": {split: both}}), tmp_path / "demo/cells" / cell.id)
    table = table_of(study, tmp_path)
    assert texts(table) == {
        "last step": "60.00 ± 0.00 (2)",
        "best held-out step": "85.00 ± 7.07 (2)",
        "median seed": "60.00 (2)",
        "best seed": "60.00 (2)",
    }
    intervals = [column.name for column in table.columns if column.interval]
    assert intervals == ["best held-out step [95%]"]


@pytest.mark.parametrize(("seeds", "scores"), [(1, [0.8]), (3, [0.8, 0.8, 0.8])], ids=["one seed", "equal seeds"])
def test_protocols_that_agree_make_no_table(tmp_path: Path, seeds: int, scores: list[float]) -> None:
    study = study_of(seeds, *SMALL[:3])
    plant_all(study, tmp_path, {method: [(score, {}) for score in scores] for method in ("lora", "adalora")})
    assert protocol_table(Comparer(read_results(study, tmp_path))) is None
    make_tables(study, tmp_path)
    assert not list((tmp_path / "demo/tables").glob("protocols.*"))


def test_a_study_without_the_first_method_at_a_budget(tmp_path: Path) -> None:
    grids = "grids=[{budgets: [small]}, {budgets: [large], methods: [adalora]}]"
    study = study_of(2, *SMALL[:2], grids, *HELD_OUT[3:])
    plant_all(study, tmp_path, {"lora": LORA, "adalora": ADALORA})
    table = table_of(study, tmp_path)
    assert [row[2].text[:5] for row in table.rows] == ["small", "small", "large"]
    assert {entry.text for entry in table.rows[2][HEADS + 6 :]} == {"—"}
    assert "No difference, the study does not ask for LoRA: SST-2, large, AdaLoRA." in table.footnotes


def test_one_method_has_no_differences(tmp_path: Path) -> None:
    study = study_of(2, SMALL[0], "methods=[adalora]", *SMALL[2:])
    plant_all(study, tmp_path, {"adalora": ADALORA})
    table = table_of(study, tmp_path)
    assert len(table.columns) == HEADS + 6
    assert not any("ifference" in note for note in table.footnotes)


def test_a_curve_of_another_training_is_refused(tmp_path: Path) -> None:
    study = study_of(1, *HELD_OUT)
    plant_all(study, tmp_path, {"lora": LORA, "adalora": ADALORA})
    file = tmp_path / "demo/cells/sst2/lora/small/seed-0/curve.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(BenchError, match=r"curve\.jsonl: ends at step 20, the record beside it 40"):
        table_of(study, tmp_path)
