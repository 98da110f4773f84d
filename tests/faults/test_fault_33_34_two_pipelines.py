"""Faults 33 and 34: a second Snakemake on one folder stops with the holder's name, a stale lock with the command."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
STUDY = """\
name: tiny
data: embedded
backbones: {classification: minilm}
tasks: [cola]
methods: [lora]
budgets: {small: {rank: 2}}
seeds: [0]
limits: {train_rows: 64, evaluation_rows: 32}
recipe: {max_steps: 400, epochs: 100, batch_size: 16, max_length: 32}
"""


@pytest.mark.long
def test_the_second_stops_and_a_stale_lock_names_its_cure(tmp_path: Path) -> None:
    import shutil

    shutil.copytree(ROOT / "workflow", tmp_path / "workflow")
    (tmp_path / "workflow" / "studies" / "tiny.yaml").write_text(STUDY)
    first = subprocess.Popen(
        _command(tmp_path), cwd=tmp_path, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
    )
    end = time.monotonic() + 100
    while not list((tmp_path / ".snakemake").glob("locks/*")):
        assert time.monotonic() < end
        time.sleep(0.2)
    time.sleep(2)
    second = _run(tmp_path)
    assert second.returncode != 0
    assert str(first.pid) in second.stdout
    assert "Traceback" not in second.stdout
    pipeline = psutil.Process(first.pid)
    # The pipeline before its jobs: it would end in order after the failure of one, and leave no lock behind.
    for process in [pipeline, *pipeline.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    first.wait()
    third = _run(tmp_path)
    assert third.returncode != 0
    assert re.search(r"it has ended: .*snakemake .*--unlock", third.stdout)
    assert _run(tmp_path, "--unlock").returncode == 0
    assert _run(tmp_path, "--dry-run").returncode == 0


def _command(folder: Path) -> list[str]:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "1"]
    return [*command, "--config", f"workflow={folder / 'workflow'}", "study=tiny"]


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*_command(folder), *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
