"""Each number of the memory table is the mean of its records, read from their JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from helpers.records import make_record, study_of, write_study

from bench.analysis.results import read_results
from bench.analysis.tables.resources import memory_table, parameter_table
from bench.records.io import write_record

MIB = 2**20
READ: dict[str, Callable[[dict[str, Any]], float | None]] = {
    "start, adapter": lambda r: r["parameters"]["adapter_start"],
    "end, adapter": lambda r: r["parameters"]["adapter_end"],
    "heads": lambda r: r["parameters"]["head"],
    "base, stored": lambda r: sum(r["bytes"]["base"].values()) / MIB,
    "file, stored": lambda r: r["bytes"]["adapter_file"] / MIB,
    "gradient, training, most": lambda r: r["bytes"]["gradients"] / MIB,
    "optimizer, training, most": lambda r: r["bytes"]["optimizer"] / MIB,
    "importance, training, most": lambda r: r["bytes"]["importance"] / MIB,
    "predicted, training, total": lambda r: r["bytes"]["peak"]["predicted"] / MIB,
    "measured, training, total": lambda r: r["bytes"]["peak"]["growth"] / MIB,
    "peak, process": lambda r: r["bytes"]["peak"]["peak"] / MIB,
}


def test_each_number_of_the_memory_table_is_the_mean_of_its_records(tmp_path: Path) -> None:
    study = study_of(2)
    folder = write_study(study, tmp_path)
    results = read_results(study, tmp_path)
    sizes, memory = parameter_table(results), memory_table(results)
    columns = [*sizes.columns, *memory.columns]
    names = [column.full_name for column in columns]
    assert set(READ) <= set(names)
    labels = {cell.method.label: cell.method.name for cell in study.cells}
    tasks = {cell.task.label: cell.task.name for cell in study.cells}
    for row in (of_sizes + of_memory for of_sizes, of_memory in zip(sizes.rows, memory.rows, strict=True)):
        task, method, budget = tasks[row[0].text], labels[row[1].text], row[2].text
        files = sorted(folder.glob(f"cells/{task}/{method}/{budget}/seed-*/record.json"))
        records = [json.loads(file.read_bytes()) for file in files]
        assert len(records) == 2
        for name, read in READ.items():
            assert row[names.index(name)].value == pytest.approx(mean(read(record) for record in records)), name


@pytest.mark.parametrize(("tolerance", "noted"), [(0.05, True), (0.2, False)])
def test_unequal_parameters_at_one_budget_are_noted_with_their_numbers(
    tmp_path: Path, tolerance: float, noted: bool
) -> None:
    study = study_of(1, f"tolerance={tolerance}")
    for method, kept in (("lora", 100_000), ("adalora", 112_500)):
        cell = study.find("sst2", method, "small", 0)
        record = make_record(cell, {"validation": {"accuracy": 0.9}})
        assert record.parameters is not None
        changed = record.parameters.model_copy(update={"adapter_end": kept})
        folder = tmp_path / study.name / "cells" / cell.id
        folder.mkdir(parents=True)
        write_record(record.model_copy(update={"parameters": changed}), folder)
    notes = [note for note in memory_table(read_results(study, tmp_path)).footnotes if "Unequal budgets" in note]
    assert bool(notes) is noted
    assert all("SST-2 100,000 to 112,500 (+12.5%)" in note for note in notes)
