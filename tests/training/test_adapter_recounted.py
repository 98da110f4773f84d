"""What a record says of an adapter stands in its file, and no cell is recorded over its budget."""

from __future__ import annotations

import json
import struct
from math import prod
from pathlib import Path
from typing import Any

import pytest
from helpers.small_cells import Lab, record_of
from helpers.toy_models import adapted, batches, cell_of, loss_of, sites_of

from bench.config.rank_rules import Growth
from bench.config.rank_schedule import faults_without_shapes, largest_rank, schedule_of
from bench.models.core import build_core
from bench.training.record_parts import budget_use

SHAPES = [(6, 10), (12, 4), (16, 40)]
ADALORA = {"adapter": "adalora", "allocator": "adalora"}
CAPPED = {
    "lora": {"adapter": "lora", "allocator": "fixed"},
    "svd": {"adapter": "adalora", "allocator": "fixed"},
    "adalora": {**ADALORA, "method": {"unit": "parameters"}},
    **{
        f"{adapter} {allocator}": {"adapter": adapter, "allocator": allocator, "method": {"unit": "parameters"}}
        for adapter, allocator in (
            ("lora", "truncated"),
            ("lora", "truncated_end"),
            ("adalora", "truncated"),
            ("adalora", "sora"),
        )
    },
    "not compacted": {**ADALORA, "method": {"unit": "parameters", "compact": False}},
    **{
        f"{adapter} {allocator}": {
            "adapter": adapter,
            "allocator": allocator,
            "method": {"growth": Growth(start_rank=1)},
        }
        for adapter, allocator in (("lora", "interval"), ("adalora", "random"), ("adalora", "increlora"))
    },
}


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


@pytest.mark.parametrize("cap", [397, 1001])
@pytest.mark.parametrize("name", CAPPED)
def test_a_cap_in_parameters_is_proved_in_parameters(name: str, cap: int) -> None:
    cell = cell_of(**CAPPED[name], rank=None, parameters=cap, epochs=2)
    schedule = schedule_of(cell, 320, SHAPES)
    rank = largest_rank(cell, SHAPES)
    model = adapted(SHAPES, rank, schedule, svd=cell.method.adapter == "adalora")
    core = build_core(model, sites_of(SHAPES), cell, schedule)
    for _, x in zip(range(schedule.total_steps), batches(0, 8, 16), strict=False):
        core.accumulate(loss_of(model, x))
        core.step()
    use = budget_use(core, cell, 0)
    assert (use.unit, use.limit) == ("parameters", cap)
    with core.budget_view():
        factors = [p for n, p in model.named_parameters() if "lora_A" in n or "lora_B" in n or "lora_E" in n]
        counted = sum(p.numel() for p in factors)
    if name != "not compacted":  # there, pruned ranks stay in memory
        assert use.used == counted
    assert cap / 4 < use.used == core.live_parameters() <= cap


@pytest.mark.parametrize(
    "adapter", [{"adapter": "peft", "allocator": "fixed", "method": {"peft": {"config": "LoraConfig"}}}, ADALORA]
)
def test_a_method_that_can_not_promise_a_cap_in_parameters_is_refused(adapter: dict[str, Any]) -> None:
    """Before anything is downloaded."""
    ((place, fault),) = faults_without_shapes(cell_of(**adapter, rank=None, parameters=300), None)
    assert place == ("budgets", "b", "parameters")
    assert "as a rank" in fault
