"""Several short cells in one job leave the same records, bit for bit, and no cell suffers from another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from helpers.projects import Project, make_project
from helpers.small_cells import outcome

from bench.errors import EXIT_TRY_AGAIN
from bench.nvml import CPU_IN_PLACE_OF_GPUS
from bench.pipeline.run_options import RunOptions
from bench.pipeline.study import Pipeline
from bench.records.io import read_record
from bench.training.group import KILLED

METHODS = ("lora", "qlora_adalora")
GROUPED = ("set=cells_per_job=4; methods=[lora, qlora_adalora]; tasks=[cola]; seeds=[0, 1]",)


def _cells(project: Project) -> list[Path]:
    return [record.parent for record in project.records]


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory, prepared_cache: Path) -> Project:
    """The cells of the study, each in a job of its own."""
    project = make_project(tmp_path_factory.mktemp("single"), "embedded", prepared_cache)
    done = project.snakemake("records", config=(GROUPED[0].replace("cells_per_job=4", "cells_per_job=1"),))
    assert done.code == 0, done.out
    assert done.jobs["train_cola"] == 4
    return project


@pytest.mark.long
def test_a_group_leaves_the_records_of_single_jobs(single: Project, tmp_path: Path) -> None:
    project = make_project(tmp_path / "grouped", "embedded")
    config = (*GROUPED, f"cache={single.folder / 'results/cache'}")
    done = project.snakemake("records", config=config)
    assert done.code == 0, done.out
    assert {rule: n for rule, n in done.jobs.items() if rule.startswith(("train", "group"))} == {"group_cola_1": 1}
    assert len(_cells(project)) == 4
    for alone, grouped in zip(_cells(single), _cells(project), strict=True):
        assert outcome(alone) == outcome(grouped)
    assert project.snakemake("records", config=config).nothing_to_do
    logs = sorted(p.relative_to(project.folder) for p in (project.folder / "results/tiny/logs/cola").glob("*/*/*.log"))
    assert len(logs) == 4

    before = {cell: (cell / "curve.jsonl").stat().st_mtime_ns for cell in _cells(project)}
    (_cells(project)[1] / "record.json").unlink()
    assert project.snakemake("records", config=config).code == 0
    again = [cell for cell, stamp in before.items() if (cell / "curve.jsonl").stat().st_mtime_ns != stamp]
    assert again == [list(before)[1]]


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_cell_keeps_no_other_from_its_record(single: Project, tmp_path: Path, number: int) -> None:
    results = tmp_path / "results"
    command = _group(single, results, ["lora/small/0", "qlora_adalora/small/0", "lora/small/1"])
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment)
    log = results / "tiny/logs/cola/lora/small/seed-0.log"
    while not log.exists():  # the first child has started
        assert process.poll() is None
        time.sleep(0.05)
    if number == signal.SIGKILL:
        descendants = psutil.Process(process.pid).children(recursive=True)
        (child,) = [
            descendant for descendant in descendants if descendant.ppid() != process.pid
        ]  # its parent is the fork server
        child.send_signal(number)
        assert process.wait(120) != 0
        kept = sorted((results / "tiny/cells").rglob("record.json"))
        assert len(kept) == 2  # the cells after the killed one
    else:
        process.terminate()  # the job is asked to stop: the cell saves, the others wait for the next attempt
        assert process.wait(120) != 0
    assert subprocess.run(command, cwd=tmp_path, env=environment, check=False).returncode == 0
    places = [("lora", 0), ("qlora_adalora", 0), ("lora", 1)]
    for method, seed in places:
        cell = Path(f"tiny/cells/cola/{method}/small/seed-{seed}")
        assert outcome(results / cell) == outcome(single.folder / "results" / cell)


@pytest.mark.long
@pytest.mark.parametrize(("number", "cells_per_gpu"), [(signal.SIGKILL, "2"), (signal.SIGTERM, "auto")])
def test_cells_that_share_a_gpu_leave_the_records_of_single_jobs(
    single: Project, tmp_path: Path, number: int, cells_per_gpu: str
) -> None:
    results = tmp_path / "results"
    command = _group(single, results, [f"{method}/small/{seed}" for seed in (0, 1) for method in METHODS])
    command += ["--set", f"cells_per_gpu={cells_per_gpu}", "--set", "gpu_memory=24GiB"]
    one_gpu = {"CUDA_VISIBLE_DEVICES": "0", CPU_IN_PLACE_OF_GPUS: "1", "SLURM_JOB_ID": "7", "TMPDIR": str(tmp_path)}
    one_gpu["SLURM_CPUS_PER_TASK"] = "2"  # cores for two cells
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **one_gpu}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment)
    while len(logs := list(results.rglob("seed-*.log"))) < 2:
        assert process.poll() is None
        time.sleep(0.02)
    assert sorted(log.parts[-3] for log in logs) == sorted(METHODS)  # two of seed 0, at the same time:
    cells = [child for child in psutil.Process(process.pid).children(recursive=True) if child.ppid() != process.pid]
    assert len(cells) == 2
    (cells[0] if number == signal.SIGKILL else psutil.Process(process.pid)).send_signal(number)
    assert process.wait(180) == (EXIT_TRY_AGAIN if number == signal.SIGTERM else KILLED + number)
    kept = {record.parent.relative_to(results): read_record(record) for record in results.rglob("record.json")}
    if number == signal.SIGKILL:
        assert len(kept) == 3  # those beside and after the killed one
    assert all(record.training.cells_per_gpu == 2 for record in kept.values())

    assert subprocess.run([*command, "--attempt", "3"], cwd=tmp_path, env=environment, check=False).returncode == 0
    for record in single.records:
        cell = record.parent.relative_to(single.folder / "results")
        assert outcome(results / cell) == outcome(record.parent)
        if cell not in kept:  # the last attempt has the GPU alone
            last = read_record(results / cell / "record.json").training
            assert last.cells_per_gpu == (2 if last.resumed_at else 1)


@pytest.mark.parametrize(("cells_per_gpu", "at_once"), [(1, 1), (3, 3), (9, 4)])
def test_a_job_asks_for_what_its_cells_take_at_the_same_time(cells_per_gpu: int, at_once: int) -> None:
    given = ("resources={gpus: 1, mem_mb: 1000, runtime: 30}", "threads=2", "cells_per_job=4")
    pipeline = Pipeline.of(RunOptions(study="demo", overrides=(*given, f"cells_per_gpu={cells_per_gpu}")))
    group = pipeline.groups[0]
    assert len(group.cells) == 4
    assert (pipeline.group_cores(group), pipeline.group_gpus(group)) == (2 * at_once, 1)
    assert (pipeline.group_memory_mb(group, 1), pipeline.group_minutes(group, 1)) == (1000 * at_once, 120)
    assert [pipeline.group_minutes(group, attempt) for attempt in (2, 20)] == [240, 1440]


def _group(single: Project, results: Path, names: list[str]) -> list[str]:
    """The command that trains cells of the task cola in one job, from what was prepared for `single`."""
    command = [sys.executable, "-m", "bench.cli", "group", "--study", "tiny", "--task", "cola", "--cells", *names]
    command += ["--offline", "--attempts", "3", "--results", str(results)]
    command += ["--cache", str(single.folder / "results/cache"), "--workflow", str(single.workflow)]
    for override in GROUPED[0].removeprefix("set=").replace("cells_per_job=4; ", "").split("; "):
        command += ["--set", override]
    return command


@pytest.mark.long
def test_a_retry_of_a_group_trains_only_what_is_missing(single: Project, tmp_path: Path) -> None:
    project = make_project(tmp_path / "grouped", "embedded")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    config = (*GROUPED, f"cache={single.folder / 'results/cache'}")
    process = subprocess.Popen(project.command("records", config=config), cwd=project.folder, env=environment)
    while not (logs := list((project.folder / "results/tiny/logs").glob("cola/*/*/seed-*.log"))):
        assert process.poll() is None
        time.sleep(0.05)
    (killed,) = logs  # that of the first cell, which is being trained
    children = psutil.Process(process.pid).children(recursive=True)
    (server,) = [child for child in children if "forkserver" in " ".join(child.cmdline()) and child.children()]
    server.children()[0].kill()
    while len(_cells(project)) < 3:  # the others are recorded, before Snakemake learns of the failure
        assert process.poll() is None
        time.sleep(0.05)
    trained = {cell: (cell / "curve.jsonl").stat().st_mtime_ns for cell in _cells(project)}
    assert process.wait(300) == 0
    cells = _cells(project)
    assert len(cells) == 4
    assert {cell: (cell / "curve.jsonl").stat().st_mtime_ns for cell in cells if cell in trained} == trained
    (missing,) = set(cells) - set(trained)
    assert "/".join(missing.parts[-4:]) == "/".join(killed.with_suffix("").parts[-4:])
