"""What a record says of its Slurm job."""

from __future__ import annotations

from datetime import datetime

import pytest

from bench.records.slurm import parse_job, slurm_use

SHOWN = (
    "JobId=7 JobName=x Requeue=1 Restarts=1 RunTime=00:01:00 TimeLimit=1-00:30:00 SubmitTime=2026-03-01T10:00:00 "
    "EligibleTime=2026-03-01T10:02:00 StartTime=2026-03-01T10:05:00 EndTime=Unknown Partition=gpu "
    "TRES=cpu=1,mem=1500M,node=1,billing=1,gres/gpu=1 TresPerJob=gres:gpu:1"
)


def test_requested_queued_and_used() -> None:
    assert parse_job(SHOWN, datetime(2026, 3, 1, 10, 6, 30)) == {
        "seconds_used": 90,
        "seconds_queued": 180,  # since it could run: a requeued job waits from then on
        "seconds_requested": 86400 + 1800,
        "memory_requested_mib": 1500,
        "resources": "cpu=1,mem=1500M,node=1,billing=1,gres/gpu=1",
    }


@pytest.mark.parametrize(("text", "mib"), [("mem=4G", 4096), ("mem=1.50G", 1536), ("mem=2048K", 2)])
def test_units_of_memory(text: str, mib: int) -> None:
    assert parse_job(f"TRES={text}", datetime.now())["memory_requested_mib"] == mib


def test_what_slurm_does_not_know_is_left_out() -> None:
    shown = "TimeLimit=UNLIMITED StartTime=Unknown SubmitTime=2026-03-01T10:00:00"
    assert parse_job(shown, datetime.now()) == {}
    assert parse_job("", datetime.now()) == {}


def test_outside_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert slurm_use() is None


def test_a_silent_controller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    monkeypatch.setenv("PATH", "")
    found = slurm_use()
    assert found is not None
    assert (found["job"], found["requeues"]) == ("7", 2)
    assert found["memory_used_mib"] > 0
    assert "seconds_used" not in found
