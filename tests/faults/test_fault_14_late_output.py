"""Fault 14: a record that becomes visible after its job has ended is waited for. Stand-in: renaming is made late, as
seen from another node of a network file system; Snakemake and the waiting time of the Slurm profile are real."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from helpers.projects import ROOT, Done, Project, make_project

from bench.records.io import read_record

DELAY = 8.0


def late_run(project: Project, monkeypatch: pytest.MonkeyPatch, latency: float) -> Done:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).with_name("late")))
    monkeypatch.setenv("LATE_SECONDS", str(DELAY))
    done = project.snakemake("records", "--latency-wait", str(latency), config=("tasks=cola",))
    monkeypatch.delenv("PYTHONPATH")
    return done


@pytest.mark.long
def test_a_late_record_is_waited_for(tmp_path: Path, prepared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    latency = yaml.safe_load((ROOT / "slurm" / "config.yaml").read_text())["latency-wait"]
    assert latency > 60  # an attribute cache of NFS holds for up to 60 s
    project = make_project(tmp_path, "embedded", prepared_cache)
    done = late_run(project, monkeypatch, latency)
    assert done.code == 0, done.out
    assert f"Waiting at most {latency} seconds for missing files" in done.out
    (record,) = project.records
    assert read_record(record).status == "ok"
    assert project.snakemake("records", config=("tasks=cola",)).nothing_to_do
