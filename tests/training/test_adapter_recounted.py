"""What a record says of an adapter stands in its file, and no cell is recorded over its budget."""

from __future__ import annotations

import json
import struct
from math import prod
from pathlib import Path
from typing import Any

import pytest
from helpers.small_cells import Lab, record_of


def tensors_of(file: Path) -> dict[str, Any]:
    """Names, types and shapes by the file's own header: 8 bytes of its length, then JSON."""
    raw = file.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    header.pop("__metadata__", None)
    assert 8 + length + max(tensor["data_offsets"][1] for tensor in header.values()) == len(raw)
    return header


@pytest.mark.parametrize("method", ["lora", "adalora", "qlora_adalora"])
def test_an_adapter_file_is_recounted(lab: Lab, tmp_path: Path, method: str) -> None:
    cell = lab.prepare(lab.cell(method))
    assert lab.train(cell, tmp_path / "out", every=None) == 0
    record, file = record_of(tmp_path / "out"), tmp_path / "out" / "adapter" / "adapter_model.safetensors"
    assert record.bytes is not None
    assert record.parameters is not None
    assert record.bytes.adapter_file == file.stat().st_size
    tensors = tensors_of(file)
    assert {tensor["dtype"] for tensor in tensors.values()} <= {"F32", "I64"}
    counts = {name: prod(tensor["shape"]) for name, tensor in tensors.items()}
    adapter = sum(n for name, n in counts.items() if any(f".lora_{x}" in name for x in "ABE"))
    heads = sum(n for name, n in counts.items() if "lora_" not in name and "ranknum" not in name)
    assert (adapter, heads) == (record.parameters.adapter_end, record.parameters.head)


def over_by_one() -> None:
    """The allocator keeps one rank too many, as far as the record's writer can see."""
    from bench.training import record_parts as facts

    honest = facts.budget_use

    def dishonest(*args: Any) -> Any:
        use = honest(*args)
        return use.model_copy(update={"used": use.limit + 1})

    facts.budget_use = dishonest


def test_a_cell_over_its_budget_fails(lab: Lab, tmp_path: Path) -> None:
    cell = lab.prepare(lab.cell("adalora"))
    assert lab.train(cell, tmp_path / "out", before=over_by_one) == 2
    assert "kept, the budget is" in (tmp_path / "log.txt").read_text()
    assert not (tmp_path / "out" / "record.json").exists()
