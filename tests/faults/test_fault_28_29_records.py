"""Faults 28 and 29: records of other schemas, and records edited by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import BenchError
from bench.files import canonical_json
from bench.records import schema
from bench.records.io import checksums, read_record, write_record
from bench.records.migrations import MIGRATIONS
from bench.records.schema import CellKey, Record, Reported


def record(**changes: Any) -> Record:
    key = CellKey(
        study="s",
        task="cola",
        backbone="b",
        method="lora",
        budget="small",
        seed=0,
        id="cola/lora/small/seed-0",
        spec_hash="0" * 64,
        hash="1" * 64,
    )
    values: dict[str, Any] = {
        "cell": key,
        "spec": {"a": [1, 2.5, None]},
        "status": "ok",
        "reported": Reported(split="validation", metric="mcc", value=0.5),
        "metrics": {"validation": {"last": {"mcc": 0.5, "accuracy": None}}},
        **changes,
    }
    return Record(**values)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    file = write_record(record(), tmp_path)
    read = read_record(file)
    assert read.model_dump(exclude={"checksums"}) == record().model_dump(exclude={"checksums"})


def test_fault_28_an_older_record_is_migrated_and_the_original_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program of the next schema (which renamed `status_text` to `message`) reads a record of this one."""
    file = write_record(record(), tmp_path)
    old = json.loads(file.read_bytes())
    old["status_text"] = old.pop("message")
    old["checksums"] = checksums(old)
    file.write_bytes(canonical_json(old))
    before = file.read_bytes()

    def rename(data: dict[str, Any]) -> dict[str, Any]:
        return {**{k: v for k, v in data.items() if k != "status_text"}, "message": "was: " + str(data["status_text"])}

    today = schema.SCHEMA_VERSION
    monkeypatch.setattr(schema, "SCHEMA_VERSION", today + 1)
    monkeypatch.setitem(MIGRATIONS, today, rename)
    migrated = read_record(file)
    assert (migrated.schema_version, migrated.message) == (today + 1, "was: None")
    assert file.read_bytes() == before


def test_fault_29_a_newer_record_is_refused_by_version(tmp_path: Path) -> None:
    file = write_record(record(), tmp_path)
    data = json.loads(file.read_bytes())
    data["schema_version"] = 7
    file.write_bytes(canonical_json(data))
    with pytest.raises(BenchError, match=r"schema_version 7 is newer than this harness, which reads 1 to 2"):
        read_record(file)


@pytest.mark.parametrize(
    ("field", "edit"),
    [
        ("reported", lambda d: d["reported"].update(value=0.99)),
        ("metrics", lambda d: d["metrics"]["validation"]["last"].update(mcc=0.99)),
        ("spec", lambda d: d["spec"].update(a=[1, 2.5, 0])),
        ("status", lambda d: d.update(status="failed")),
        ("message", lambda d: d.pop("message")),
        ("remark", lambda d: d.update(remark="better")),
        ("checksums", lambda d: d.pop("checksums")),
    ],
)
def test_fault_29_an_edited_record_is_refused_by_field(tmp_path: Path, field: str, edit: Any) -> None:
    file = write_record(record(), tmp_path)
    data = json.loads(file.read_bytes())
    edit(data)
    file.write_bytes(canonical_json(data))
    with pytest.raises(BenchError, match=rf"record\.json: field {field} "):
        read_record(file)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_nan_is_ever_written(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_record(record(spec={"x": value}), tmp_path)
    assert not list(tmp_path.iterdir())


@settings(max_examples=200, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
def test_any_changed_byte_is_refused_or_means_nothing(
    place: float, byte: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = write_record(record(), tmp_path_factory.mktemp("record"))
    before = read_record(file)
    data = bytearray(file.read_bytes())
    data[int(place * len(data))] = byte
    file.write_bytes(bytes(data))
    try:
        after = read_record(file)
    except BenchError as error:
        told = str(error)
    else:
        told = str(file)
        assert after == before  # white space, or the same byte again
    assert str(file) in told


@settings(max_examples=100, deadline=None)
@given(
    data=st.one_of(
        st.binary(max_size=200), st.just(b"[" * 100_000), st.just(b'{"schema_version": ' + b"9" * 5000 + b"}")
    )
)
def test_no_file_gets_past_the_reader(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("record") / "record.json"
    file.write_bytes(data)
    with pytest.raises(BenchError, match=r"record\.json"):
        read_record(file)
