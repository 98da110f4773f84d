"""Faults 5 and 6: a disk that is really full, at a checkpoint and at the record."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.disks import resize, small_disk
from helpers.small_cells import Lab, Moment, outcome, record_of

from bench.errors import EXIT_TRY_AGAIN, TransientError
from bench.records.io import read_record, write_record


def test_fault_05_the_old_checkpoint_stays_whole(lab: Lab, tmp_path: Path, undisturbed: Callable[..., Any]) -> None:
    cell, out = lab.prepare(lab.cell("adalora")), tmp_path / "out"
    assert lab.train(cell, tmp_path / "measured", Moment("step", 5), every=None) == EXIT_TRY_AGAIN
    needed = sum(file.stat().st_size for file in lab.checkpoints().rglob("*") if file.is_file())
    shutil.rmtree(lab.checkpoints())
    disk = lab.cache / "checkpoints"
    with small_disk(disk, int(1.5 * needed)):  # room for one, not for two
        assert lab.train(cell, out, every=4) == EXIT_TRY_AGAIN
        told = (tmp_path / "log.txt").read_text()
        assert "bytes needed" in told
        assert "free" in told
        assert "Traceback" not in told
        assert [folder.name for folder in lab.checkpoints().glob("*") if folder.is_dir()] == ["step-000000004"]
        resize(disk, 20 * needed)
        assert lab.train(cell, out) == 0
        training = record_of(out).training
        assert training is not None
        assert training.resumed_at == (4,)
        assert outcome(out) == undisturbed(lab, cell)


def test_fault_06_no_partial_record(lab: Lab, tmp_path: Path) -> None:
    cell = lab.prepare(lab.cell("lora"))
    assert lab.train(cell, tmp_path / "out") == 0
    record = record_of(tmp_path / "out")
    disk = tmp_path / "disk"
    with small_disk(disk, 64 * 1024):
        write_record(record, disk)
        before = (disk / "record.json").read_bytes()
        (disk / "filler").write_bytes(b"x" * (64 * 1024 - len(before) - 12 * 1024))
        with pytest.raises(TransientError, match=r"bytes needed, [\d,]+ free"):
            write_record(record, disk)
        assert sorted(path.name for path in disk.iterdir()) == ["filler", "record.json"]
        assert (disk / "record.json").read_bytes() == before
        assert read_record(disk / "record.json").status == "ok"
