"""`cells_per_gpu: auto`: how many cells share a GPU by their predicted peaks, the same for whoever asks."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from bench.config.cell import Cell, Choice
from bench.config.resolve import ResolvedStudy, load_study
from bench.errors import BenchError
from bench.estimate import sharing as module
from bench.estimate.card_memory import CONTEXT, PIECES
from bench.estimate.declared_peaks import VERSION, declared_peaks, peak_key
from bench.estimate.hardware import CPU, UNKNOWN_GPU, Hardware, as_multiplied
from bench.estimate.memory import declared_batch, predict_peak
from bench.estimate.parameters import predict_parameters
from bench.estimate.sharing import MOST_CELLS, cells_in_job, cells_on, sharing
from bench.nvml import Gpu
from bench.pipeline.run_options import RunOptions
from bench.pipeline.snakemake_config import pipeline_from
from bench.pipeline.study import Pipeline

GIB = 2**30
A100 = Hardware(gpu=True, model="a100", remote=True, slurm=True)  # of 40 gigabytes, unless it says more


@cache
def study(*overrides: str) -> ResolvedStudy:
    return load_study("demo", ["cells_per_gpu=auto", "tasks=[cola]", "methods=[lora, qlora]", "seeds=[0]", *overrides])


def keep(file: Path, cells: Sequence[Cell], *peaks: int | None) -> None:
    """Write the predicted peaks of cells, as if they had been predicted; the last one is that of all further cells."""
    padded = [*peaks, *[peaks[-1]] * (len(cells) - len(peaks))]
    found = {peak_key(cell): peak for cell, peak in zip(cells, padded, strict=True)}
    file.write_text(json.dumps({"version": VERSION, "peaks": found}))


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where peaks are kept. Predicting one fails, and the machine has 64 processors."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a peak is predicted that is kept already")

    monkeypatch.setattr(subprocess, "run", refuse)
    monkeypatch.setattr(module, "allowed_processors", lambda: 64)
    return tmp_path / "peaks.json"


def test_the_largest_peak_of_a_job_decides(file: Path) -> None:
    found = study()
    keep(file, found.cells, 8 * GIB, GIB)
    assert cells_in_job(found, found.cells, A100, file) == 40 * 10**9 // (PIECES * 8 * GIB + CONTEXT) == 3
    assert len(found.cells) == 4
    assert cells_in_job(found, found.cells, replace(A100, model="a100_80gb"), file) == 4  # all that the job has
    assert cells_in_job(found, found.cells[2:], A100, file) == 2


def test_at_the_limits_of_memory_processors_and_sense(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = study("seeds=[0, 1, 2, 3, 4, 5]", "threads=2")
    keep(file, found.cells, GIB)
    assert cells_in_job(found, found.cells, A100, file) == MOST_CELLS
    here = Hardware(gpu=True, model="NVIDIA A100-SXM4-40GB", memory=40 * GIB)
    monkeypatch.setattr(module, "allowed_processors", lambda: 6)
    assert cells_in_job(found, found.cells, here, file) == 3
    assert cells_in_job(found, found.cells, A100, file) == MOST_CELLS  # the cores are another machine's
    assert cells_in_job(found, found.cells, CPU, file) == 1
    exact = int(2 * (PIECES * GIB + CONTEXT))
    for memory, number in ((exact + 2, 2), (exact - 2, 1), (1, 1)):
        assert cells_on(found, found.cells, file, Gpu("GPU-a", memory=memory)) == number


def test_autocast_counts_as_float32_on_a_card_that_is_slow_at_bfloat16(file: Path) -> None:
    """Autocast is off there, so that a training keeps its activations in float32."""
    found = study("recipe_from=null", "methods=[lora_autocast]")
    float32 = [as_multiplied(cell, slow_at_bfloat16=True) for cell in found.cells]
    assert {cell.method.storage for cell in float32} == {"fp32"}
    assert len(found.cells) == 2
    keep(file, [*found.cells, *float32], 4 * GIB, 4 * GIB, 8 * GIB, 8 * GIB)
    for model, number in (("t4", 1), ("a4000", 2)):  # of 16 gigabytes both
        assert cells_in_job(found, found.cells, replace(A100, model=model), file) == number
    for gpu, number in (
        (Gpu("GPU-a", "Tesla T4", 16 * GIB, (7, 5)), 1),
        (Gpu("GPU-a", "Tesla T4", 16 * GIB), 1),
        (Gpu("GPU-a", "NVIDIA RTX A4000", 16 * GIB, (8, 6)), 3),
    ):
        assert cells_on(found, found.cells, file, gpu) == number


def test_on_the_cpu_a_job_asks_for_the_cores_of_one_cell() -> None:
    """There a number of cells per GPU does nothing: cells run one after another."""
    three = load_study("demo", ["cells_per_gpu=3", "cells_per_job=4", "tasks=[cola]", "seeds=[0]"])
    pipeline = Pipeline(three, three.cells, RunOptions(study="demo"), CPU)
    assert [pipeline.group_cores(group) for group in pipeline.groups] == [1] * len(pipeline.groups)
    on_gpu = replace(pipeline, hardware=UNKNOWN_GPU)
    assert [on_gpu.group_cores(group) for group in on_gpu.groups] == [3] * len(pipeline.groups)


def test_a_peak_that_is_not_known_has_the_gpu_alone(file: Path) -> None:
    found = study()
    keep(file, found.cells, None, GIB)
    assert cells_in_job(found, found.cells, A100, file) == 1
    assert cells_in_job(found, found.cells[1:], A100, file) == 3


@pytest.mark.parametrize(
    ("hardware", "setting", "number"),
    [
        (Hardware(gpu=True, memory=20 * GIB), None, 4),  # the driver's
        (Hardware(gpu=True, memory=20 * GIB), "10GiB", 2),  # of which the study leaves some to others
        (Hardware(gpu=True, memory=20 * GIB), "80GiB", 4),  # there is no more
        (Hardware(gpu=True, model="t4"), None, 2),  # the class of the card
        (Hardware(gpu=True, model="t4"), "10GiB", 2),  # what the study says is more exact
        (UNKNOWN_GPU, "20GiB", 4),
    ],
)
def test_the_memory_is_the_drivers_the_studys_or_that_of_the_class(
    file: Path, hardware: Hardware, setting: str | None, number: int
) -> None:
    found = study("seeds=[0, 1]")
    found = replace(found, study=found.study.model_copy(update={"gpu_memory": setting}))
    keep(file, found.cells, 4 * GIB)
    assert cells_in_job(found, found.cells, replace(hardware, remote=True), file) == number
    on = Gpu("GPU-a", memory=hardware.memory)
    if hardware.memory or setting:
        assert cells_on(found, found.cells, file, on) == (2 if setting == "10GiB" else number)


def test_without_any_of_these_it_is_refused_in_a_sentence(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = study()
    with pytest.raises(BenchError, match=r"cells_per_gpu is auto, but nothing tells the memory of the GPUs: add gpu_m"):
        cells_in_job(found, found.cells, UNKNOWN_GPU, file)
    with pytest.raises(BenchError, match=r"of a GPU 'k80', which is no class that is known: add gpu_memory: 40GiB"):
        cells_in_job(found, found.cells, Hardware(gpu=True, model="k80"), file)
    with pytest.raises(BenchError, match=r"the memory of GPU 0, as its driver does not say: add gpu_memory: 40GiB"):
        cells_on(found, found.cells, file, Gpu("0"))
    # A job that Slurm gave the cores of three cells knows what was decided when it was asked for.
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "3")
    monkeypatch.setattr(module, "allowed_processors", lambda: 3)
    assert cells_on(found, found.cells, file, Gpu("0")) == 3


def test_snakemake_refuses_it_before_any_job_and_only_where_gpus_are_shared(file: Path, tmp_path: Path) -> None:
    config = {"study": "demo", "results": str(tmp_path), "cache": str(tmp_path), "tasks": "cola", "seeds": "0"}
    alone = {**config, "set": "cells_per_gpu=auto; cells_per_job=1"}
    in_groups = {**config, "set": "cells_per_gpu=auto; cells_per_job=4"}
    with pytest.raises(BenchError, match="nothing tells the memory of the GPUs"):
        pipeline_from(in_groups, hardware=UNKNOWN_GPU)
    pipeline_from(in_groups, hardware=CPU)
    pipeline_from(alone, hardware=replace(UNKNOWN_GPU, slurm=True))
    with pytest.raises(BenchError, match="nothing tells the memory of the GPUs"):
        pipeline_from(alone, hardware=UNKNOWN_GPU)
    pipeline = pipeline_from(in_groups, is_main_process=False, hardware=A100)
    keep(file, pipeline.study.cells, 12 * GIB)
    (group, *_) = pipeline.groups
    assert (pipeline.group_cores(group), pipeline.group_gpus(group)) == (2, 1)
    on_cpu = replace(pipeline, hardware=CPU)
    assert pipeline.group_memory_mb(group, 1) == 2 * on_cpu.group_memory_mb(group, 1)
    assert isinstance(pipeline, Pipeline)
    assert pipeline.options.peaks_file == file == RunOptions(study="demo", cache=tmp_path).peaks_file


def test_a_number_counts_as_before_and_the_last_attempt_is_alone(file: Path) -> None:
    three = load_study("demo", ["cells_per_gpu=3"])
    assert sharing(three, three.cells, file, 1, 3) == 3
    assert sharing(three, three.cells, file, 1, 1) == 3
    assert sharing(three, three.cells, file, 3, 3) == 1
    found = study()
    assert sharing(found, found.cells, file, 3, 3) == 1
    keep(file, found.cells, GIB)
    counted = sharing(found, found.cells, file, 1, 3)
    assert not isinstance(counted, int)
    assert counted(Gpu("GPU-a", memory=4 * GIB)) == 2


def test_peaks_are_those_of_the_plan_and_predicted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = study("budgets={small: {rank: 2}}")
    cell = found.cells[0]
    file = tmp_path / "cache" / "peaks.json"
    twins = [cell.model_copy(update={"seed": seed}) for seed in (0, 1)]
    predicted = predict_peak(cell, predict_parameters(cell), declared_batch(cell), "cuda").total
    assert declared_peaks(twins, file) == {peak_key(cell): predicted}
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("predicted again"))
    choice = Choice(values={}, by="accuracy", score=0.5, trials={})
    assert declared_peaks([cell.model_copy(update={"choice": choice})], file) == {peak_key(cell): predicted}

    def failing(words: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        return subprocess.CompletedProcess(words, 1, b"", b"Traceback ...\nRuntimeError: no\n")

    file.write_text(json.dumps({"version": VERSION - 1, "peaks": {peak_key(cell): 1}}))  # another harness's
    monkeypatch.setattr(subprocess, "run", failing)
    with pytest.raises(BenchError, match="the peaks that it needs can't be predicted: RuntimeError: no"):
        declared_peaks([cell], file)
