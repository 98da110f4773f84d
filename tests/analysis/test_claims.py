"""A table claims no more about its methods than its seeds, examples and rows support."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from helpers.records import study_of, write_cell, write_study

from bench.analysis.build import make_tables
from bench.analysis.figures.differences import difference_figure
from bench.analysis.published import read_published
from bench.analysis.results import read_results
from bench.analysis.stats.comparison import Comparer, Contrast
from bench.analysis.tables.published import published_entry
from bench.analysis.verdicts import method_pairs, verdicts
from bench.config.cell import Cell
from bench.config.resolve import ResolvedStudy, load_study
from bench.errors import BenchError

TWO = ("methods=[lora, adalora]", "tasks=[sst2]", "grids=[{budgets: [small]}]")


def tables(study: ResolvedStudy, results: Path) -> Path:
    make_tables(study, results)
    return results / study.name / "tables"


def study_with_hard_seeds(results: Path, seeds: int, lost: int, method: str) -> ResolvedStudy:
    """The first `lost` seeds are hard, and `method` has no score on them; AdaLoRA is worse than LoRA on every seed."""
    study = study_of(seeds, *TWO)
    for cell in study.cells:
        quality = (0.45 if cell.seed < lost else 0.85) - (0.06 if cell.method.name == "adalora" else 0.0)
        status = "oom" if cell.method.name == method and cell.seed < lost else "ok"
        write_cell(results / study.name, cell, quality, status=status)
    return study


def test_a_mean_over_easier_seeds_is_not_bold(tmp_path: Path) -> None:
    study = study_with_hard_seeds(tmp_path, 5, 2, "adalora")
    text = (tables(study, tmp_path) / "lora_adalora.md").read_text()
    table = pd.read_csv(tmp_path / "demo/tables/lora_adalora.csv")
    means = [table[f"{name}: mean"][0] for name in ("LoRA", "AdaLoRA")]
    difference = table["difference [95%]: difference"][0]
    assert means[1] > means[0]
    assert difference < 0
    assert "**" not in text.partition("\n\n- ")[0]


def test_a_difference_shows_its_number_of_pairs_and_csv_its_interval(tmp_path: Path) -> None:
    study = study_with_hard_seeds(tmp_path, 3, 2, "lora")
    folder = tables(study, tmp_path)
    table, text = pd.read_csv(folder / "lora_adalora.csv"), (folder / "lora_adalora.md").read_text()
    low, mean, high, n = (table[f"difference [95%]: {p}"][0] for p in ("low", "difference", "high", "n"))
    assert low < mean < high
    assert n == 1
    assert f"[{low:+.2f}, {high:+.2f}] (1)".replace("-", "−") in text
    assert "A difference over one paired seed holds for those two trained models" in text
    compared = pd.read_csv(folder / "comparisons.csv")
    parts = [f"difference [95%]: {part}" for part in ("difference", "low", "high", "n")]
    assert compared[parts].iloc[0].tolist() == pytest.approx([mean, low, high, 1])


def test_bold_needs_the_weakest_of_its_comparisons(tmp_path: Path) -> None:
    """The third method is far behind on average, but varies over the seeds. Its interval excludes zero, but its p does
    not survive Holm's correction over the table's rows. The runner-up's p alone would."""
    study = study_of(3, "methods=[lora, adalora, qlora]", TWO[2])
    uneven = {0: 0.38, 1: 0.60, 2: 0.50}

    def quality(cell: Cell) -> float:
        return {"adalora": 0.92, "lora": 0.66, "qlora": uneven[cell.seed]}[cell.method.name]

    write_study(study, tmp_path, quality, rows=400)
    lines = (tables(study, tmp_path) / "methods.md").read_text().splitlines()
    comparer = Comparer(read_results(study, tmp_path))
    contrasts = [Contrast("sst2", "validation", "accuracy", "small", method, "adalora") for method in ("lora", "qlora")]
    runner_up, third = (comparer.compare(contrast) for contrast in contrasts)
    rows = (sum(line.startswith("| ") for line in lines) - 1) // 3  # one claim for the rows of three methods
    assert runner_up.clear
    assert third.clear
    assert runner_up.interval.p * rows < 0.05 < third.interval.p * rows
    assert "**" not in next(line for line in lines if line.startswith("| SST-2"))


def test_records_of_several_data_sets_are_named_and_not_paired_by_example(tmp_path: Path) -> None:
    study = study_of(2, *TWO)
    other: dict[str, Any] = {"data": {"synthetic": False, "fingerprint": "g"}}
    for cell in study.cells:
        write_cell(tmp_path / "demo", cell, 0.8, **(other if cell.method.name == "adalora" else {}))
        if cell.method.name == "adalora":  # the labels of the same rows, flipped
            file = tmp_path / "demo/cells" / cell.id / "predictions.parquet"
            frame = pd.read_parquet(file)
            frame[["reference", "prediction"]] = 1 - frame[["reference", "prediction"]]
            frame.to_parquet(file, index=False)
    folder = tables(study, tmp_path)
    assert (
        "Mixed rows, SST-2: records of several data sets (fingerprints: f (2), g (2))."
        in (folder / "methods.md").read_text()
    )
    compared = pd.read_csv(folder / "comparisons.csv")
    assert compared["examples"].tolist() == ["—"]
    with pytest.raises(BenchError, match="--strict: Mixed rows, SST-2"):
        make_tables(study, tmp_path, strict=True)


def test_published_numbers_stand_beside_their_own_budget(tmp_path: Path) -> None:
    def shown(*overrides: str) -> tuple[str, str]:
        study = load_study("paper", ["tasks=[cola]", "methods=[lora]", "seeds=[0]", *overrides])
        write_study(study, tmp_path / str(len(overrides)))
        results = read_results(study, tmp_path / str(len(overrides)))
        published = read_published(results)
        place = ("cola", "mcc", "validation", "small")
        return published_entry(published, place, "lora").text, " ".join(published.notes([place], results))

    assert shown()[0] == "68.71 (5)"
    assert shown("budgets={small: {rank: 4}}")[0] == "—"
    text, notes = shown("limits.train_rows=1000", "limits.evaluation_rows=100")
    assert text == "68.71 (5)"
    assert "ours of at most 1,000 training rows, 100 evaluation rows" in notes


def test_a_pair_differs_in_nothing_but_its_storage(tmp_path: Path) -> None:
    study = study_of(1, "methods=[lora, lora_query, qlora, adalora, qlora_adalora]", "tasks=[sst2]")
    write_study(study, tmp_path)
    pairs = method_pairs(read_results(study, tmp_path))
    assert ("lora", "qlora") in pairs
    assert ("adalora", "qlora_adalora") in pairs
    assert ("lora_query", "qlora") not in pairs


def test_the_intervals_over_tasks_stand_on_enough_runs_and_every_row_shows_its_own(tmp_path: Path) -> None:
    study = study_of(4, "methods=[lora, adalora, qlora]", "tasks=[sst2, cola]", TWO[2])
    for cell in study.cells:
        lost = {"lora": cell.seed > 1, "qlora": cell.seed > 0}.get(cell.method.name, False)
        write_cell(tmp_path / "demo", cell, 0.7 + 0.05 * cell.seed, status="oom" if lost else "ok")
    folder = tables(study, tmp_path)
    overall = pd.read_csv(folder / "overall.csv").set_index("method")
    intervals = {statistic: overall[f"{statistic} [95%]: low"].notna() for statistic in ("IQM", "P")}
    assert intervals["IQM"].to_dict() == {"LoRA": False, "AdaLoRA": True, "QLoRA": False}
    assert intervals["P"].to_dict() == {"LoRA": False, "AdaLoRA": True, "QLoRA": False}
    assert overall["IQM"].notna().all()
    assert overall["runs"].tolist() == [4, 8, 2]
    assert overall["runs: remark"].fillna("").tolist() == ["4 failed or missing", "", "6 failed or missing"]
    text = (folder / "overall.md").read_text()
    assert "not of the methods (QLoRA, small)." in text
    assert "Runs that failed or are missing are in no number of their row" in text


def test_one_seed_is_named_over_tasks_and_in_the_figure_of_differences(tmp_path: Path) -> None:
    study = study_of(1, "methods=[lora, adalora]", "tasks=[sst2, cola]", TWO[2])
    write_study(study, tmp_path)
    assert "not of the methods (all rows)." in (tables(study, tmp_path) / "overall.md").read_text()
    results = read_results(study, tmp_path)
    figure = difference_figure(results, verdicts(Comparer(results)))
    assert figure is not None
    axis = figure.axes[0]
    assert all(label.get_text().endswith("(n = 1)") for label in axis.get_yticklabels())
    assert "n = 1: these models, not the methods" in axis.get_xlabel().replace("\n", " ")
