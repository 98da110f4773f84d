"""`bench status`: whether what is recorded is whole, and on a cluster what Slurm does with each cell.

squeue is a stand-in; tests/slurm has the real one.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.records import make_record

from bench.cli.app import main
from bench.config.resolve import load_study
from bench.files import digest
from bench.paths import StudyPaths
from bench.pipeline.status import cell_states
from bench.records.io import write_record

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


def test_a_record_and_its_files_are_compared_with_their_checksums(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    study = load_study("demo", ["tasks=[cola]", "methods=[lora]"])
    cell = study.cells[0]
    folder = StudyPaths(tmp_path, "demo").cell(cell.id).folder
    (folder / "adapter").mkdir(parents=True)
    files = [folder / "predictions.parquet", folder / "adapter/adapter_model.safetensors"]
    for file in files:
        file.write_bytes(b"as it was written")
    record = make_record(cell, {"validation": {"mcc": 0.5}})
    record = record.model_copy(update={"files": {str(file.relative_to(folder)): digest(file) for file in files}})
    written = write_record(record, folder)
    arguments = ["status", "demo", "--results", str(tmp_path), "--set", "tasks=[cola]", "--set", "methods=[lora]"]

    def state(largest: int | None = 1000) -> tuple[str, str]:
        found = cell_states(study, tmp_path, largest=largest)[0]
        return found.name, found.detail

    assert state() == ("ok", "")
    files[1].write_bytes(b"AS it was written")
    assert state() == ("damaged", f"{files[1]} does not have the SHA-256 that its record has")
    assert state(largest=5) == ("ok", "")
    assert state(largest=None)[0] == "damaged"
    files[1].unlink()
    assert state(largest=5) == ("damaged", f"{files[1]} is missing")
    text = written.read_text()
    for content, message in (
        (text.replace("0.5", "0.9"), "field metrics was changed after the record was written"),
        (text[:200], "no readable record"),
        ("", "no readable record"),
        ("[]", "expected a JSON object"),
    ):
        written.write_text(content)
        name, detail = state()
        assert (name, message in detail) == ("unreadable", True), detail
    assert main(arguments) == 0
    assert "remove the record of a cell that is unreadable or damaged" in capsys.readouterr().out
