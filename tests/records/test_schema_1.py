"""A real record of schema 1, which a cell of the demo left, and the first lines of its curve are still read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.config.cell import Cell, identity_of, spec_hash_of
from bench.errors import BenchError
from bench.files import canonical_json
from bench.records.io import checksums, read_curve, read_record
from bench.records.schema import SCHEMA_VERSION

FOLDER = Path(__file__).parent / "schema_1"


def test_a_record_of_schema_1_is_read_with_the_names_of_today() -> None:
    before = (FOLDER / "record.json").read_bytes()
    old, record = json.loads(before), read_record(FOLDER / "record.json")
    assert (old["schema_version"], record.schema_version) == (1, SCHEMA_VERSION)
    assert record.bytes is not None
    assert record.bytes.base is not None
    assert record.training is not None
    assert record.training.utilization is not None
    assert record.parameters is not None
    assert record.bytes.base.quantization == old["bytes"]["base"]["quantisation"] == 207_792
    use, old_use = record.training.utilization, old["training"]["utilisation"]
    assert use.flops_per_step == old_use["operations_per_step"]
    assert use.matmul_flops_per_second == old_use["matrix_rate"]
    assert use.fraction == old_use["share"]
    assert (record.parameters.budget.used, record.parameters.budget.limit) == (72, 72)
    assert [site.index for site in record.ranks.values()] == [site["place"] for site in old["ranks"].values()]
    assert record.environment["matmul_precision"] == old["environment"]["products_in"]
    assert (FOLDER / "record.json").read_bytes() == before


def test_the_hashes_of_its_cell_are_those_of_its_renamed_spec() -> None:
    """Else every old record would be one of another spec, and each cell would be trained again."""
    record = read_record(FOLDER / "record.json")
    assert record.spec["method"]["double_quantization"] is True
    cell = Cell.model_validate(record.spec)
    assert record.cell.spec_hash == spec_hash_of(cell.model_dump(mode="json"))
    assert record.cell.hash == identity_of(record.cell.spec_hash, record.data["fingerprint"])
    assert record.cell.spec_hash != cell.spec_hash  # this one, in 4 bits, starts from other values since


def test_its_checksums_are_those_of_the_old_names(tmp_path: Path) -> None:
    data = json.loads((FOLDER / "record.json").read_bytes())
    data["training"]["utilisation"]["share"] = 1.0
    (tmp_path / "record.json").write_bytes(canonical_json(data))
    with pytest.raises(BenchError, match="field training was changed"):
        read_record(tmp_path / "record.json")


@pytest.mark.parametrize("part", ["spec", "ranks", "training"])
def test_what_no_schema_1_can_hold_is_refused_in_words(tmp_path: Path, part: str) -> None:
    data = json.loads((FOLDER / "record.json").read_bytes())
    data[part] = 3
    data["checksums"] = checksums(data)
    (tmp_path / "record.json").write_bytes(canonical_json(data))
    with pytest.raises(BenchError, match=r"record\.json: "):
        read_record(tmp_path / "record.json")


def test_a_curve_of_then_is_read_with_the_keys_of_today() -> None:
    old = [json.loads(line) for line in (FOLDER / "curve.jsonl").read_text().splitlines()]
    lines = read_curve(FOLDER / "curve.jsonl")
    assert [line["regularizer"] for line in lines] == [line["regulariser"] for line in old]
    assert not any("regulariser" in line for line in lines)


def test_there_may_be_no_curve(tmp_path: Path) -> None:
    assert read_curve(tmp_path / "curve.jsonl") == []
