"""A cell in two processes by the command line, as the pipeline's jobs and people start it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from helpers.projects import Project, make_project
from helpers.small_cells import outcome

from bench.errors import EXIT_TRY_AGAIN
from bench.records.io import read_record

pytestmark = pytest.mark.long
TOGETHER = "set=recipe.processes=2; recipe.max_steps=60; tasks=[cola]; methods=[adalora]; limits.train_rows=480"
WORDS = [word for part in TOGETHER.removeprefix("set=").split("; ") for word in ("--set", part)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The cell, by the pipeline."""
    project = make_project(tmp_path_factory.mktemp("undisturbed"), "embedded")
    done = project.snakemake("records", config=(TOGETHER,))
    assert done.code == 0, done.out
    return project


@pytest.fixture
def command(undisturbed: Project, tmp_path: Path) -> list[str]:
    """`bench train` of it, with the same prepared files and checkpoints of its own."""
    import shutil

    shutil.copytree(undisturbed.folder / "results/cache", tmp_path / "cache")
    place = [
        "--cache",
        str(tmp_path / "cache"),
        "--workflow",
        str(undisturbed.workflow),
        "--out",
        str(tmp_path / "out"),
    ]
    cell = ["--study", "tiny", "--task", "cola", "--method", "adalora", "--budget", "small", "--seed", "0"]
    return [sys.executable, "-m", "bench.cli", "train", *cell, "--offline", "--attempts", "3", *place, *WORDS]


def start(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})


def until(condition: Callable[[], bool], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


@contextmanager
def training(command: list[str], cache: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The cell, past its first steps, or past those that another try made."""
    curves = list(cache.glob("checkpoints/*/curve.jsonl"))
    before = curves[0].stat().st_size if curves else 0
    process = start(command)
    until(lambda: any(curve.stat().st_size > before for curve in cache.glob("checkpoints/*/curve.jsonl")))
    yield process
    process.kill()
    process.wait()


def test_the_pipeline_asks_for_both(undisturbed: Project) -> None:
    (record,) = undisturbed.records
    found = read_record(record)
    assert found.status == "ok"
    assert found.spec["recipe"]["processes"] == 2
    plan = [sys.executable, "-m", "bench.cli", "plan", "tiny", "--json", "--workflow", str(undisturbed.workflow)]
    jobs = [
        json.loads(subprocess.run([*plan, *words], capture_output=True, check=True).stdout)[0]["job"]
        for words in (WORDS, [*WORDS, "--set", "recipe.processes=1"])
    ]
    assert [job["gpus"] for job in jobs] == [2, 1]
    assert jobs[0]["mem_mb"] == 2 * jobs[1]["mem_mb"]
    assert undisturbed.snakemake("records", config=(TOGETHER,)).nothing_to_do


def test_after_every_kind_of_end_the_next_try_goes_on_to_the_same_bits(
    command: list[str], undisturbed: Project, tmp_path: Path
) -> None:
    """One test, since each start imports the libraries three times."""
    with training(command, tmp_path / "cache") as parent:
        members = psutil.Process(parent.pid).children()
        parent.kill()  # takes both with it
        _, alive = psutil.wait_procs(members, timeout=20)
        assert not alive
    with training(command, tmp_path / "cache") as parent:
        parent.terminate()  # has both save
        assert parent.wait(100) == EXIT_TRY_AGAIN
    with training(command, tmp_path / "cache") as parent:
        members = psutil.Process(parent.pid).children()
        assert len(members) == 2
        members[1].send_signal(signal.SIGKILL)  # ends the try
        assert parent.wait(100) == 128 + signal.SIGKILL
        assert not any(member.is_running() for member in members)
    assert not (tmp_path / "out/record.json").exists()
    assert start(command).wait(120) == 0
    assert read_record(tmp_path / "out/record.json").training.resumed_at
    assert outcome(tmp_path / "out") == outcome(undisturbed.records[0].parent)
    assert not list((tmp_path / "cache/checkpoints").iterdir())


def test_cells_of_several_processes_share_no_job(undisturbed: Project) -> None:
    done = undisturbed.snakemake("-n", config=(f"{TOGETHER}; cells_per_job=2",))
    assert done.code == 2
    assert "cells_per_job is 2, but a cell of 'cola' takes 2 processes: a job each" in done.out
