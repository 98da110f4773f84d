"""The duration of a cell is predicted from records of cells like it, and never without them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.records import ENVIRONMENT, make_record, study_of

from bench.config.cell import Cell
from bench.config.rank_schedule import schedule_of
from bench.config.resolve import ResolvedStudy, load_study
from bench.config.task import Resources
from bench.estimate.duration import Forecaster, forecaster
from bench.estimate.hardware import Hardware
from bench.estimate.jobs import memory_mb, minutes
from bench.estimate.plan import plan
from bench.estimate.plan_table import show_plan
from bench.records.io import write_record
from bench.records.schema import Seconds, Training

STUDY = study_of(3, "tasks=[sst2, cola]")


def without_resources(study: ResolvedStudy) -> ResolvedStudy:
    """The study without its own resources, so that the plan decides what a job asks for."""
    return replace(study, study=study.study.model_copy(update={"resources": Resources()}))


def training(steps: int, per_step: float, overhead: float) -> Training:
    seconds = Seconds(
        startup=overhead - 2,
        training=steps * per_step,
        evaluation=1.5,
        saving=0.5,
        total=steps * per_step + overhead,
    )
    return Training(steps=steps, skipped_steps=0, rows=16 * steps, tokens=900 * steps, seconds=seconds)


def record(
    results: Path,
    cell: Cell,
    per_step: float,
    *,
    steps: int = 40,
    overhead: float = 6.0,
    device: str = "AMD EPYC",
    kind: str = "cpu",
    slurm: dict[str, str] | None = None,
    cells_per_gpu: int = 1,
) -> None:
    scores = {cell.task.primary_split: {cell.task.metric: 0.5}}
    where = {**ENVIRONMENT, "device": kind, "device_name": device, "slurm": slurm}
    finished = make_record(cell, scores, environment=where)
    done = training(steps, per_step, overhead).model_copy(update={"cells_per_gpu": cells_per_gpu})
    finished = finished.model_copy(update={"training": done})
    folder = results / cell.study / "cells" / cell.id
    folder.mkdir(parents=True)
    write_record(finished, folder)


def from_records(results: Path, hardware: Hardware | None = None) -> Forecaster:
    forecaster.cache_clear()
    return forecaster(results, hardware)


def test_times_of_a_shared_gpu_are_not_used(tmp_path: Path) -> None:
    alone, shared = (STUDY.find("sst2", "lora", "small", seed) for seed in (0, 1))
    record(tmp_path, alone, 0.10)
    record(tmp_path, shared, 0.50, cells_per_gpu=3)
    known = from_records(tmp_path).forecast(STUDY.find("sst2", "lora", "small", 2), 40)
    assert known is not None
    assert (known.seconds_per_step, known.records) == (pytest.approx(0.10), 1)


def test_without_records_nothing_is_known(tmp_path: Path) -> None:
    assert from_records(tmp_path).forecast(STUDY.cells[0], 40) is None
    forecaster.cache_clear()
    rows = plan(STUDY, results=tmp_path)
    assert all(row["seconds"] is None for row in rows)
    assert "run time unknown" in show_plan(rows)


def test_the_nearest_records_count(tmp_path: Path) -> None:
    record(tmp_path, STUDY.find("sst2", "lora", "small", 0), 0.10)
    record(tmp_path, STUDY.find("sst2", "lora", "small", 1), 0.20, steps=20)
    record(tmp_path, STUDY.find("sst2", "adalora", "small", 0), 0.30)
    known = from_records(tmp_path)
    same = known.forecast(STUDY.find("sst2", "lora", "large", 2), 100)
    assert same is not None
    assert (same.seconds, same.records, same.by) == (pytest.approx(100 * 0.15 + 6), 2, "task and method")
    other_task = known.forecast(STUDY.find("cola", "lora", "small", 0), 100)
    assert other_task is not None
    assert (other_task.seconds, other_task.records) == (pytest.approx(100 * 0.20 + 6), 3)
    assert other_task.by == "backbone and length"


def test_nothing_is_carried_over_to_another_base_batch_or_length(tmp_path: Path) -> None:
    record(tmp_path, STUDY.find("sst2", "lora", "small", 0), 0.10)
    known = from_records(tmp_path)
    assert known.forecast(STUDY.find("sst2", "qlora", "small", 0), 40) is None
    for key, value in (("batch_size", 32), ("max_length", 32), ("gradient_checkpointing", True)):
        cell = STUDY.find("sst2", "lora", "small", 1)
        other = cell.model_copy(update={"recipe": cell.recipe.model_copy(update={key: value})})
        assert known.forecast(other, 40) is None, key


def test_a_study_is_predicted_from_its_first_records(tmp_path: Path) -> None:
    """Seed 0 is recorded. Seeds 1 and 2 take the same time per method, with noise."""
    truth = {"lora": 0.10, "adalora": 0.12, "qlora": 0.30, "qlora_adalora": 0.33}
    for cell in (cell for cell in STUDY.cells if cell.seed == 0):
        record(tmp_path, cell, truth[cell.method.name])
    from_records(tmp_path)
    rows = plan(STUDY, results=tmp_path)
    left = sum(row["seconds"] for row in rows if row["taken_seconds"] is None)
    rest = [cell for cell in STUDY.cells if cell.seed]
    took = sum(40 * truth[c.method.name] * (1.1 if c.seed == 1 else 0.95) + 6 for c in rest)
    assert left == pytest.approx(took, rel=0.25)
    assert f"done: {len(STUDY.cells) - len(rest)} cells" in show_plan(rows)


def test_a_record_of_another_study_gives_a_time_but_does_not_make_the_cell_done(tmp_path: Path) -> None:
    cell = STUDY.find("sst2", "lora", "small", 0)
    theirs = cell.model_copy(update={"study": "other"})
    assert (theirs.id, theirs.spec_hash) == (cell.id, cell.spec_hash)
    record(tmp_path, theirs, 0.10)
    known = from_records(tmp_path)
    assert known.taken(cell) is None
    assert known.taken(theirs) == pytest.approx(40 * 0.10 + 6)
    predicted = known.forecast(cell, 40)
    assert predicted is not None
    assert predicted.seconds == pytest.approx(40 * 0.10 + 6)
    record(tmp_path, cell, 0.20)
    assert from_records(tmp_path).taken(cell) == pytest.approx(40 * 0.20 + 6)


def test_a_cell_done_on_another_device_is_done(tmp_path: Path) -> None:
    first, second, third = (STUDY.find("sst2", "lora", "small", seed) for seed in (0, 1, 2))
    study = replace(STUDY, cells=(first, second, third))
    for cell in (first, second):
        record(tmp_path, cell, 0.10)
    record(tmp_path, third, 0.50, device="an older one")
    from_records(tmp_path)
    rows = plan(study, results=tmp_path)
    assert [row["taken_seconds"] for row in rows] == pytest.approx([10, 10, 26])
    assert [row["seconds"] for row in rows] == pytest.approx([10, 10, 10])  # predicted for the device of most records
    assert "done: 3 cells in 0.01 hours; left: 0.00 hours" in show_plan(rows)


def test_what_is_done_is_shown_where_no_time_is_predicted(tmp_path: Path) -> None:
    for seed in (0, 1):
        record(tmp_path, STUDY.find("sst2", "qlora", "small", seed), 0.10)
    record(tmp_path, STUDY.find("sst2", "lora", "small", 0), 89.85, device="an older one")
    from_records(tmp_path)
    text = show_plan(plan(study_of(1, "tasks=[sst2]", "methods=[lora]"), results=tmp_path))
    assert "run time unknown" in text
    assert text.endswith("done: 1 cells in 1.00 hours")


def test_jobs_ask_for_no_time_for_rows_held_out(tmp_path: Path) -> None:
    study = without_resources(study_of(1, "tasks=[sst2]", "recipe.max_steps=null", "recipe.holdout_rows=400"))
    cell = study.find("sst2", "lora", "small", 0)
    record(tmp_path, cell, 60.0)
    assert cell.declared_train_rows is not None
    steps = schedule_of(cell, cell.declared_train_rows, [(8, 8)]).total_steps
    assert steps < cell.recipe.total_steps(cell.declared_train_rows)
    assert minutes(cell, study.study, 1, from_records(tmp_path)) == 20 + math.ceil(1.5 * (steps + 0.1))


def test_jobs_ask_for_the_time_that_records_show(tmp_path: Path) -> None:
    study = without_resources(study_of(1, "tasks=[sst2]"))
    cell = study.find("sst2", "lora", "small", 0)
    record(tmp_path, cell, 90.0)
    known = from_records(tmp_path)
    first = minutes(cell, study.study, 1, known)
    assert first == 20 + 91  # minutes for start-up, and 1.5 times 40 x 90 + 6 seconds
    assert minutes(cell, study.study, 2, known) == 2 * first
    assert minutes(cell, study.study, 1, None) < first
    overridden = study_of(1, "tasks=[sst2]", "overrides={sst2: {resources: {runtime: 7}}}")
    assert minutes(overridden.find("sst2", "lora", "small", 0), overridden.study, 1, known) == 7


def test_a_damaged_record_is_ignored(tmp_path: Path) -> None:
    cell = STUDY.cells[0]
    record(tmp_path, cell, 0.1)
    file = next(tmp_path.rglob("record.json"))
    file.write_bytes(file.read_bytes()[:200])
    assert from_records(tmp_path).forecast(cell, 40) is None


def test_the_plan_asks_for_memory_that_grows_with_attempts(tmp_path: Path) -> None:
    forecaster.cache_clear()
    on_gpu = without_resources(study_of(1, "tasks=[sst2]", "methods=[lora]"))
    on_cpu = replace(on_gpu, study=on_gpu.study.model_copy(update={"resources": Resources(gpus=0)}))
    cpu, gpu = (plan(study, results=tmp_path)[0]["job"] for study in (on_cpu, on_gpu))
    assert (cpu["gpus"], gpu["gpus"]) == (0, 1)
    assert cpu["mem_mb"] > gpu["mem_mb"]  # activations are the host's then
    assert memory_mb(on_cpu.cells[0], on_cpu.study, 3) == 3 * cpu["mem_mb"]


@pytest.mark.parametrize(("given", "asked"), [(60, [60, 120, 180]), (1000, [1000, 1440, 1440]), (2880, [2880] * 3)])
def test_further_attempts_ask_for_more_time_up_to_a_day(given: int, asked: list[int]) -> None:
    """Slurm refuses a job that asks for more than its partition allows; a training that goes on needs no more."""
    study = study_of(1, f"resources={{runtime: {given}}}")
    assert [minutes(study.cells[0], study.study, attempt) for attempt in (1, 2, 3)] == asked
    endless = load_study("paper", ["seeds=[0]", "methods=[lora]", "tasks=[cnn_dailymail]"])
    assert {minutes(endless.cells[0], endless.study, attempt) for attempt in (1, 2, 3)} == {1440}
