"""Fault 36: another process on the device is told in the record. No GPU here: nvidia-smi is a stand-in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.records.provenance import other_processes


def test_other_processes_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\necho {os.getpid()}\necho 4242\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert other_processes("cuda:0") == [4242]
    assert other_processes("cpu") == []


def test_without_the_tool_nothing_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert other_processes("cuda:0") == []
