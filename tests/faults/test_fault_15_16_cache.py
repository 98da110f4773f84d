"""Faults 15 and 16: cells only read what prepare wrote, and a byte that changed there is found."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from small import Lab

from bench.errors import EXIT_BAD_INPUT


def test_fault_15_a_training_changes_nothing_that_was_prepared(lab: Lab, tmp_path: Path) -> None:
    cell = lab.prepare(lab.cell("qlora_adalora"))
    before = _prepared(lab.cache)
    assert lab.train(cell, tmp_path / "out") == 0
    assert _prepared(lab.cache) == before


@pytest.mark.parametrize("name", ["train.parquet", "validation.parquet", "manifest.json"])
def test_fault_16_a_changed_byte_is_named_with_the_command(lab: Lab, tmp_path: Path, name: str) -> None:
    cell = lab.prepare(lab.cell("lora"))
    (file,) = (lab.cache / "data").rglob(name)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))
    assert lab.train(cell, tmp_path / "out") == EXIT_BAD_INPUT
    told = (tmp_path / "log.txt").read_text()
    assert str(file) in told
    assert "bench prepare" in told
    assert "Traceback" not in told
    assert not (tmp_path / "out" / "record.json").exists()


def _prepared(cache: Path) -> dict[str, str]:
    files = [p for folder in ("data", "models") for p in (cache / folder).rglob("*") if p.is_file()]
    return {p.relative_to(cache).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
