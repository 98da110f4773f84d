"""Fault 36: another process on the device is told in the record. No GPU here: nvidia-smi is a stand-in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.records.environment import other_processes


@pytest.mark.parametrize(
    ("listed", "others"),
    [
        (["GPU-a, {me}", "GPU-a, 4242"], [4242]),
        (["GPU-a, {me}", "GPU-a, {me}"], []),
        (["GPU-a, {me}", "GPU-b, 4242", "GPU-b, [N/A]"], []),  # a cell on another GPU
        (["GPU-a, 7", "GPU-b, 4242"], [7, 4242]),  # in a container this process is listed under another id
    ],
)
def test_other_processes_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: list[str], others: list[int]
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\n" + "".join(f"echo '{line.format(me=os.getpid())}'\n" for line in listed))
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert other_processes("cuda:0") == others
    assert other_processes("cpu") == []


def test_without_the_tool_nothing_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert other_processes("cuda:0") == []
