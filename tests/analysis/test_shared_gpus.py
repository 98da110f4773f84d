"""Tables say which records were made on a GPU that several cells shared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.records import ENVIRONMENT, make_record, study_of

from bench.analysis.footnotes import cautions
from bench.analysis.results import read_results
from bench.analysis.tables.resources import cost_table, memory_table
from bench.records.io import read_record, write_record
from bench.records.schema import Record, result_of

STUDY = study_of(2, "tasks=[sst2]", "methods=[lora]", "budgets={small: {rank: 2, initial_rank: 4}}")


def write(folder: Path, seed: int, cells_per_gpu: int, **environment: Any) -> Record:
    cell = STUDY.find("sst2", "lora", "small", seed)
    scores = {cell.task.primary_split: {cell.task.metric: 0.5}}
    record = make_record(cell, scores, environment={**ENVIRONMENT, **environment})
    assert record.training is not None
    training = record.training.model_copy(update={"cells_per_gpu": cells_per_gpu})
    record = record.model_copy(update={"training": training})
    place = folder / STUDY.name / "cells" / cell.id
    place.mkdir(parents=True, exist_ok=True)
    write_record(record, place)
    return read_record(place / "record.json")


def test_the_table_of_cost_says_which_times_are_shared(tmp_path: Path) -> None:
    alone = write(tmp_path, 0, 1)
    write(tmp_path, 1, 1)
    assert "Shared GPU" not in " ".join(cost_table(read_results(STUDY, tmp_path)).footnotes)
    shared = write(tmp_path, 0, 3)
    results = read_results(STUDY, tmp_path)
    note = "Shared GPU: 1 of 2 records were made with up to 3 cells at a time on one GPU; their seconds"
    assert note in " ".join(cost_table(results).footnotes)
    assert "Shared GPU" not in " ".join(memory_table(results).footnotes)
    assert result_of(alone) == result_of(shared)


@pytest.mark.parametrize(
    ("cells_per_gpu", "others", "told"),
    [(1, 0, False), (1, 1, True), (3, 2, False), (3, 3, False), (3, 4, True)],
)
def test_processes_that_were_asked_to_share_disturb_nobody(
    tmp_path: Path, cells_per_gpu: int, others: int, *, told: bool
) -> None:
    for seed in (0, 1):
        write(tmp_path, seed, cells_per_gpu, other_processes=list(range(others)))
    assert ("shared their device with another process" in " ".join(cautions(read_results(STUDY, tmp_path)))) == told
