"""Faults 15 and 16: cells only read what prepare wrote, and a byte that changed there is found."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from helpers.small_cells import Lab, record_of

from bench.errors import EXIT_BAD_INPUT, EXIT_TRY_AGAIN
from bench.files import canonical_json, digest_json


def test_fault_15_a_training_changes_nothing_that_was_prepared(lab: Lab, tmp_path: Path) -> None:
    cell = lab.prepare(lab.cell("qlora_adalora"))
    before = _prepared(lab.cache)
    assert lab.train(cell, tmp_path / "out") == 0
    assert _prepared(lab.cache) == before


@pytest.mark.parametrize(
    "name",
    [
        "data/train.arrow",
        "data/validation.arrow",
        "data/manifest.json",
        "models/model.safetensors",
        "models/tokenizer.json",
        "models/manifest.json",
    ],
)
def test_fault_16_a_changed_byte_is_named_with_the_command(lab: Lab, tmp_path: Path, name: str) -> None:
    cell = lab.prepare(lab.cell("lora"))
    folder, _, name = name.partition("/")
    (file,) = (lab.cache / folder).rglob(name)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))
    assert lab.train(cell, tmp_path / "out") == EXIT_BAD_INPUT
    told = (tmp_path / "log.txt").read_text()
    assert str(file) in told
    assert "bench prepare" in told
    assert "Traceback" not in told
    assert not (tmp_path / "out" / "record.json").exists()


def test_a_fault_before_the_training_is_recorded_too(lab: Lab, tmp_path: Path) -> None:
    """Rows that no reader takes, though they are what the manifest says: after the last try the record tells why."""
    cell, out = lab.prepare(lab.cell("lora")), tmp_path / "out"
    (file,) = (lab.cache / "data").rglob("train.arrow")
    file.write_bytes(b"ARROW1 but no more")
    manifest = file.with_name("manifest.json")
    facts = json.loads(manifest.read_bytes())
    facts["splits"]["train"]["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    facts["sha256"] = digest_json({key: value for key, value in facts.items() if key != "sha256"})
    manifest.write_bytes(canonical_json(facts))
    assert lab.train(cell, out, attempt=1, attempts=2) == EXIT_TRY_AGAIN
    assert lab.train(cell, out, attempt=2, attempts=2) == 0
    record = record_of(out)
    assert record.status == "failed"
    assert "Arrow" in record.message
    assert record.training is None


def _prepared(cache: Path) -> dict[str, str]:
    files = [p for folder in ("data", "models") for p in (cache / folder).rglob("*") if p.is_file()]
    return {p.relative_to(cache).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
