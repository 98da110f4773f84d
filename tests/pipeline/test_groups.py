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
    cache, results = single.folder / "results/cache", tmp_path / "results"
    overrides = GROUPED[0].removeprefix("set=").replace("cells_per_job=4; ", "").split("; ")
    names = ["lora/small/0", "qlora_adalora/small/0", "lora/small/1"]
    command = [sys.executable, "-m", "bench.cli", "group", "--study", "tiny", "--task", "cola", "--cells", *names]
    command += ["--offline", "--attempts", "3", "--results", str(results), "--cache", str(cache)]
    command += ["--workflow", str(single.workflow)]
    for override in overrides:
        command += ["--set", override]
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
