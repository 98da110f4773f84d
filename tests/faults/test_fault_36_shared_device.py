"""Fault 36: another process on the device is told in the record. No GPU here: NVML is a stand-in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.gpus import NO_LIBRARY, OTHER_LIBRARY, Card, stand_in_machine

from bench.records.environment import other_processes

ME = os.getpid()


@pytest.mark.parametrize(
    ("on_a", "on_b", "others"),
    [
        ([ME, 4242], [], [4242]),
        ([ME], [], []),
        ([ME], [4242], []),  # a cell on another GPU
        ([7], [4242], []),  # in a container: this process, listed under another id
        ([7, 8], [], [7, 8]),
    ],
)
def test_other_processes_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_a: list[int], on_b: list[int], others: list[int]
) -> None:
    stand_in_machine(monkeypatch, tmp_path, [Card("GPU-b", processes=on_b), Card("GPU-a", processes=on_a)])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")  # the order is that of CUDA's numbers
    assert other_processes("cuda") == other_processes("cuda:0") == others
    assert other_processes("cpu") == []


@pytest.mark.parametrize("error", [NO_LIBRARY, OTHER_LIBRARY])
def test_where_nobody_can_be_asked_nothing_is_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    stand_in_machine(monkeypatch, tmp_path, [Card("GPU-a", processes=[1, 2])], error=error)
    assert other_processes("cuda:0") == []
