"""Fault 40: Ctrl-C in a local run of Snakemake: the children end, checkpoints are kept, the next run resumes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from bench.records.io import read_record

ROOT = Path(__file__).resolve().parents[2]
STUDY = """\
name: tiny
data: embedded
backbones: {classification: minilm}
tasks: [cola]
methods: [adalora]
budgets: {small: {rank: 2, initial_rank: 4}}
seeds: [0]
limits: {train_rows: 320, evaluation_rows: 32}
recipe: {max_steps: 60, epochs: 3, batch_size: 16, max_length: 32}
"""


@pytest.mark.long
def test_the_next_run_goes_on(tmp_path: Path) -> None:
    import shutil

    shutil.copytree(ROOT / "workflow", tmp_path / "workflow")
    (tmp_path / "workflow" / "studies" / "tiny.yaml").write_text(STUDY)
    first = _start(tmp_path)
    log = tmp_path / "results" / "tiny" / "logs" / "cola" / "adalora" / "small" / "seed-0.log"
    curves = tmp_path / "results" / "cache" / "checkpoints"
    _wait(lambda: any(curve.stat().st_size for curve in curves.glob("*/curve.jsonl")), first)
    children = psutil.Process(first.pid).children(recursive=True)
    os.killpg(first.pid, signal.SIGINT)
    assert first.wait(timeout=120) != 0
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
    assert "stopped by SIGINT at step" in log.read_text()
    assert list(curves.glob("*/step-*"))
    second = _start(tmp_path)
    out, _ = second.communicate(timeout=240)
    assert second.returncode == 0, out
    training = read_record(tmp_path / "results/tiny/cells/cola/adalora/small/seed-0/record.json").training
    assert training is not None
    assert training.steps == 60
    assert training.resumed_at
    assert not list(curves.iterdir())


def _start(folder: Path) -> subprocess.Popen[str]:
    """Snakemake in a process group of its own, as a shell starts it."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "1", "records"]
    return subprocess.Popen(
        [*command, "--config", f"workflow={folder / 'workflow'}", "study=tiny"],
        cwd=folder,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # what a shell starts behind it ignores it
    )


def _wait(ready: object, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 200
    while not ready():  # type: ignore[operator]
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, "no step in time"
        time.sleep(0.1)
