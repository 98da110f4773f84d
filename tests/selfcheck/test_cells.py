"""The checks that train whole cells, whole and broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.selfcheck.cells import in_two_processes, interrupted, several_in_a_job
from bench.selfcheck.check import Place
from bench.training import attempt

pytestmark = pytest.mark.long

# Run at the start of every process below: what is broken, and where.
NO_FORK = """\
import os, sys
if "forkserver" in " ".join(sys.orig_argv):
    def fork():
        raise OSError("no process")
    os.fork = fork
"""
SECOND_DIES = """\
import os
if os.environ.get("RANK") == "1":
    os._exit(3)
"""


def broken(patch: pytest.MonkeyPatch, folder: Path, code: str) -> None:
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(code)
    patch.setenv("PYTHONPATH", str(folder))


def test_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert interrupted(Place(tmp_path / "whole", "cpu")).result == "pass"
    monkeypatch.setattr(attempt, "restore_random_state", lambda *_: None)
    found = interrupted(Place(tmp_path / "broken", "cpu"))
    assert (found.result, found.found.split(", ")[0]) == ("fail", "qlora_adalora: other curve.jsonl")


def test_several_cells_in_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert several_in_a_job(Place(tmp_path / "whole", "cpu")).result == "pass"
    broken(monkeypatch, tmp_path / "code", NO_FORK)
    found = several_in_a_job(Place(tmp_path / "broken", "cpu"))
    assert found.result == "fail"
    assert "no record" in found.found


def test_two_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert in_two_processes(Place(tmp_path / "whole", "cpu")).result == "pass"
    with monkeypatch.context() as patch:
        broken(patch, tmp_path / "code", SECOND_DIES)
        assert in_two_processes(Place(tmp_path / "broken", "cpu")).result == "fail"
    monkeypatch.setattr("bench.selfcheck.cells.visible_gpus", lambda: ["one"])
    assert in_two_processes(Place(tmp_path / "gpu", "cuda")).result == "skipped"
