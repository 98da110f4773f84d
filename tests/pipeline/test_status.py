"""`bench status` on a cluster: what Slurm does with each cell. squeue is a stand-in; tests/slurm has the real one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.config.resolve import load_study
from bench.pipeline.status import cell_states

LINES = """\
7|RUNNING|node3|2026-03-01T10:00:00|2026-03-01T10:05:00|None|rule_group_cola_2|{folder}
8|PENDING||2026-03-01T10:00:00|Unknown|Priority|rule_train_sst2_wildcards_lora_small_0|{folder}
9|RUNNING|node1|2026-03-01T10:00:00|2026-03-01T10:05:00|None|rule_group_cola_1|/elsewhere
"""


@pytest.fixture
def squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool, folder = tmp_path / "bin" / "squeue", tmp_path / "a | b"
    tool.parent.mkdir()
    folder.mkdir()
    tool.write_text(f"#!/bin/sh\ncat <<'END'\n{LINES.format(folder=folder)}END\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent), prepend=os.pathsep)
    monkeypatch.chdir(folder)


@pytest.mark.usefixtures("squeue")
def test_cells_that_share_a_job_and_cells_alone(tmp_path: Path) -> None:
    study = load_study("demo", ["tasks=[cola, sst2]", "cells_per_job=4"])
    states = {state.cell.id: state for state in cell_states(study, tmp_path)}
    running = [name for name, state in states.items() if state.name == "running"]
    own = [cell.id for cell in study.cells if cell.task.name == "cola"]
    assert running == own[4:]
    assert states[running[0]].detail == "running on node3 since 2026-03-01T10:05:00 (job 7)"
    alone = states["sst2/lora/small/seed-0"]
    assert (alone.name, alone.detail) == ("queued", "pending since 2026-03-01T10:00:00 (job 8, Priority)")
    assert states[own[0]].name == "missing"
