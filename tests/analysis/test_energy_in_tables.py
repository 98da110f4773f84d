"""The table of cost shows energy where it was measured, and says where it was not or is not the cell's alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.records import make_record, study_of

from bench.analysis.results import read_results, tidy
from bench.analysis.tables.model import Entry
from bench.analysis.tables.resources import cost_table
from bench.records.energy import Energy
from bench.records.io import read_record, write_record

OLD = Path(__file__).parents[1] / "records" / "version_0_1" / "record.json"
STUDY = study_of(2, "tasks=[sst2]", "methods=[lora]", "budgets={small: {rank: 2, initial_rank: 4}}")
GPU = Energy(training=6000.0, evaluation=1000.0, saving=200.0, sources=("nvml",), shared=False)  # 2 Wh
MACHINE = Energy(training=14400.0, sources=("rapl",), shared=True)  # 4 Wh


def write(folder: Path, *energies: Energy | None) -> None:
    for seed, energy in enumerate(energies):
        cell = STUDY.find("sst2", "lora", "small", seed)
        record = make_record(cell, {cell.task.primary_split: {cell.task.metric: 0.5}})
        assert record.training is not None
        training = record.training.model_copy(update={"energy": energy})
        place = folder / STUDY.name / "cells" / cell.id
        place.mkdir(parents=True)
        write_record(record.model_copy(update={"training": training}), place)


def shown(folder: Path) -> tuple[Entry, str]:
    table = cost_table(read_results(STUDY, folder))
    (column,) = [number for number, column in enumerate(table.columns) if column.name == "energy [Wh]"]
    return table.rows[0][column], " ".join(table.footnotes)


def test_a_record_of_before_is_read_as_not_measured() -> None:
    assert "energy" not in json.loads(OLD.read_bytes())["training"]
    training = read_record(OLD).training
    assert training is not None
    assert training.energy is None


def test_not_measured(tmp_path: Path) -> None:
    write(tmp_path, None, None)
    entry, notes = shown(tmp_path)
    assert entry.text == "not measured"
    assert "Energy: not measured." in notes
    assert tidy(read_results(STUDY, tmp_path))["energy_joules"].isna().all()


def test_measured_in_watt_hours(tmp_path: Path) -> None:
    write(tmp_path, GPU, GPU)
    entry, notes = shown(tmp_path)
    assert (entry.text, entry.value, entry.n) == ("2.00", pytest.approx(2.0), 2)
    assert "Energy of 2 records: the GPUs' alone, by NVML's counter" in notes
    assert "RAPL" not in notes
    assert "Shared" not in notes
    assert set(tidy(read_results(STUDY, tmp_path))["energy_joules"]) == {7200.0}


def test_of_the_whole_machine_and_shared(tmp_path: Path) -> None:
    write(tmp_path, GPU, MACHINE)
    entry, notes = shown(tmp_path)
    assert entry.text == "3.00 ± 1.41"
    assert "Energy of 1 records: that of all processor packages of the machine, by RAPL" in notes
    assert "Shared: during 1 of 2 measured records others could use what was counted." in notes


def test_some_were_not_measured(tmp_path: Path) -> None:
    write(tmp_path, GPU, None)
    entry, notes = shown(tmp_path)
    assert entry.text == "2.00 (1)"
    assert "Energy of 1 of 2 records: not measured." in notes
