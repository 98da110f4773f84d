"""Tables against the same numbers computed from the raw files, without any code of the harness in between."""

from __future__ import annotations

import csv
import json
import statistics
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from helpers.records import study_of, write_cell, write_study

from bench.analysis.build import make_tables
from bench.config.cell import Cell
from bench.config.resolve import ResolvedStudy
from bench.records.io import write_record

QUALITY = {"lora": 0.80, "adalora": 0.84, "qlora": 0.78, "qlora_adalora": 0.82}
LABELS = {"lora": "LoRA", "adalora": "AdaLoRA", "qlora": "QLoRA", "qlora_adalora": "QLoRA + AdaLoRA"}
RANKS = {"small": "small (rank 2)", "large": "large (rank 8)"}


@pytest.fixture(scope="module")
def study() -> ResolvedStudy:
    return study_of(3)


@pytest.fixture(scope="module")
def folder(study: ResolvedStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """results/demo of 120 successful cells, with its tables."""
    results = tmp_path_factory.mktemp("results")
    study_folder = write_study(study, results, lambda c: QUALITY[c.method.name] + 0.01 * c.seed)
    make_tables(study, results)
    return study_folder


def raw(folder: Path, task: str, method: str, budget: str) -> list[dict[str, Any]]:
    """The records of all three seeds, as plain JSON."""
    cells = [folder / "cells" / task / method / budget / f"seed-{seed}" for seed in range(3)]
    return [json.loads((cell / "record.json").read_text()) for cell in cells]


TASKS = {"MNLI": "mnli", "SST-2": "sst2", "CoLA": "cola", "QNLI": "qnli", "CNN/DailyMail": "cnn_dailymail"}


def rows(folder: Path, table: str) -> list[dict[str, str]]:
    with (folder / "tables" / f"{table}.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_table_of_all_methods(folder: Path) -> None:
    checked = 0
    names = {"accuracy": "accuracy", "MCC": "mcc", "ROUGE-Lsum": "rougeLsum"}
    methods = {label: method for method, label in LABELS.items()}
    both = [*rows(folder, "methods"), *rows(folder, "methods_metrics")]
    for row in (row for row in both if row["metric"] in names):
        task, _, split = row["task"].partition(", ")
        records = raw(folder, TASKS[task], methods[row["method"]], row["budget"])
        points = [100 * record["metrics"][split or "validation"]["last"][names[row["metric"]]] for record in records]
        assert float(row["score: mean"]) == pytest.approx(statistics.mean(points))
        assert float(row["score: sd"]) == pytest.approx(statistics.stdev(points))
        assert row["score: n"] == "3"
        checked += 1
    assert checked == 7 * 8  # two splits of mnli, two metrics of cola


def test_the_metrics_in_the_records_are_those_of_the_predictions(folder: Path) -> None:
    """So that the table above is checked down to the examples themselves."""
    for file in sorted((folder / "cells" / "sst2").glob("*/*/*/predictions.parquet")):
        frame = pd.read_parquet(file)
        record = json.loads(file.with_name("record.json").read_text())
        right = float((frame["reference"] == frame["prediction"]).mean())
        assert record["metrics"]["validation"]["last"]["accuracy"] == pytest.approx(right)


def test_the_table_of_parameters_and_memory(folder: Path) -> None:
    for row, sizes in zip(rows(folder, "memory"), rows(folder, "parameters"), strict=True):
        assert [row[head] for head in ("task", "method", "budget")] == [sizes[h] for h in ("task", "method", "budget")]
        (method,) = (name for name, label in LABELS.items() if label == row["method"])
        records = raw(folder, TASKS[row["task"]], method, row["budget"])
        mean = lambda read: statistics.mean(map(read, records))  # noqa: B023, E731
        base = mean(lambda r: sum(r["bytes"]["base"].values()))
        expected = {
            "start, adapter": mean(lambda r: r["parameters"]["adapter_start"]),
            "end, adapter": mean(lambda r: sum(s["end"] * 1536 for s in r["ranks"].values())),
            "heads": mean(lambda r: sum(r["parameters"]["head_by_module"].values())),
            "base, stored": base / 2**20,
            "file, stored": mean(lambda r: r["bytes"]["adapter_file"]) / 2**20,
            "optimizer, training, most": mean(lambda r: r["bytes"]["optimizer"]) / 2**20,
            "peak, process": mean(lambda r: r["bytes"]["peak"]["peak"]) / 2**20,
        }
        assert {name: float({**sizes, **row}[name]) for name in expected} == pytest.approx(expected)
        ranks = sum(site["end"] for site in records[0]["ranks"].values())
        assert sizes["budget used"] == f"{ranks} of {ranks} ranks"
        assert row["n"] == "3"


def test_the_table_of_comparisons(folder: Path) -> None:
    """Differences, and the discordant examples of McNemar's test, all from the files."""
    from scipy.stats import binomtest

    table_rows = [
        row
        for row in rows(folder, "comparisons")
        if (row["task"], row["second − first"]) == ("SST-2", "AdaLoRA − LoRA")
    ]
    assert [row["budget"] for row in table_rows] == list(RANKS)
    for row, budget in zip(table_rows, RANKS, strict=True):
        pairs = list(zip(*(raw(folder, "sst2", m, budget) for m in ("adalora", "lora")), strict=True))
        read = lambda r: r["metrics"]["validation"]["last"]["accuracy"]  # noqa: E731
        assert float(row["difference [95%]: difference"]) == pytest.approx(
            100 * statistics.mean(read(a) - read(b) for a, b in pairs)
        )
        p_values = []
        for seed in range(3):
            right = []
            for method in ("lora", "adalora"):
                frame = pd.read_parquet(folder / "cells/sst2" / method / budget / f"seed-{seed}/predictions.parquet")
                right.append(frame["reference"] == frame["prediction"])
            discordant = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
            p_values.append(binomtest(discordant[0], sum(discordant)).pvalue)
        texts = ["< 0.001" if p < 0.001 else f"{p:.3f}" for p in p_values]
        assert row["p, McNemar by seed"] == ", ".join(texts)
        assert (row["seeds"], row["examples"]) == ("3", "200")


def test_permuting_the_seeds_changes_nothing(tmp_path: Path) -> None:
    """The number of a seed has no meaning: permuting the seeds of all methods alike gives the same tables."""
    study = study_of(3, "tasks=[sst2, cola]")

    def write(results: Path, order: list[int]) -> None:
        for cell in study.cells:
            write_permuted(results / study.name, cell, order[cell.seed])
        make_tables(study, results)

    write(tmp_path / "a", [0, 1, 2])
    write(tmp_path / "b", [2, 0, 1])
    for name in ("methods.md", "lora_adalora.tex", "overall.csv", "memory.html", "cost.md"):
        texts = [(tmp_path / results / "demo/tables" / name).read_text() for results in "ab"]
        assert texts[0] == texts[1]
    tables = [rows(tmp_path / results / "demo", "comparisons") for results in "ab"]
    for row in (row for table in tables for row in table):  # one p per seed, in the order of the seeds
        row["p, McNemar by seed"] = ", ".join(sorted(row["p, McNemar by seed"].split(", ")))
    assert tables[0] == tables[1]


def write_permuted(folder: Path, cell: Cell, seed: int) -> None:
    """Write what the cell with another seed would have left, but in the folder of this cell."""
    quality = QUALITY[cell.method.name] + 0.02 * seed
    record = write_cell(folder.parent / "other", cell.model_copy(update={"seed": seed}), quality)
    cell_folder = folder / "cells" / cell.id
    cell_folder.mkdir(parents=True, exist_ok=True)
    other_folder = folder.parent / "other" / "cells" / record.cell.id
    (other_folder / "predictions.parquet").rename(cell_folder / "predictions.parquet")
    key = record.cell.model_copy(update={"seed": cell.seed, "id": cell.id, "spec_hash": cell.spec_hash})
    write_record(record.model_copy(update={"cell": key}), cell_folder)
