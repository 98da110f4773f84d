"""Each process of a cell gets one of the GPUs that are held, whatever else a site's variables say."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.nvml import VARIABLE
from bench.training.launch import launch


@pytest.mark.parametrize("of_amd", [None, "0,1", "0"])
def test_each_process_sees_one_of_those_that_are_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of_amd: str | None
) -> None:
    told = tmp_path / "python"  # it takes Python's place in the processes, and tells what they would see
    told.write_text(f'#!/bin/sh\necho "$LOCAL_RANK ${VARIABLE} $HIP_VISIBLE_DEVICES" > {tmp_path}/told-$RANK\n')
    told.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(told))
    monkeypatch.setenv(VARIABLE, "GPU-c,GPU-d")
    if of_amd is not None:
        monkeypatch.setenv("HIP_VISIBLE_DEVICES", of_amd)
    assert launch(["train"], 2, ["GPU-c", "GPU-d"]) == 0
    assert [(tmp_path / f"told-{rank}").read_text().split() for rank in (0, 1)] == [["0", "GPU-c"], ["0", "GPU-d"]]
