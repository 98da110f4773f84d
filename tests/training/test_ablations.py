"""AdaLoRA's ablations are what they are called: each changes what it takes away, and the record shows it."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import torch
from helpers.small_cells import Lab, record_of
from helpers.toy_models import adapted, cell_of, sites_of

from bench.engine.schedule import RankSchedule
from bench.models.core import build_core
from bench.records.schema import Record

PRUNED = ("adalora", "adalora_sensitivity", "adalora_magnitude", "adalora_unregularized")


def _trained(lab: Lab, out: Path, method: str) -> tuple[Record, dict[str, list[bool]]]:
    """The record, and the masks of every matrix."""
    cell = lab.prepare(lab.cell(method, orthogonality=0.5))
    assert lab.train(cell, out, every=None) == 0, (out.parent / "log.txt").read_text()
    config = json.loads((out / "adapter" / "adapter_config.json").read_text())
    return record_of(out), config["rank_pattern"]


def test_every_ablation_keeps_other_ranks_within_the_same_budget(lab: Lab, tmp_path: Path) -> None:
    found = {method: _trained(lab, tmp_path / method / "out", method) for method in PRUNED}
    for (one, (_, first)), (other, (_, second)) in itertools.combinations(found.items(), 2):
        assert first.keys() == second.keys()
        assert first != second, f"{one} and {other} chose the same ranks"
    for record, masks in found.values():
        assert record.parameters is not None
        assert record.parameters.budget.used == record.parameters.budget.limit == sum(map(sum, masks.values()))
        assert {name.removesuffix(".lora_E"): sum(mask) for name, mask in masks.items()} == {
            name: rank.end for name, rank in record.ranks.items()
        }


def test_svd_lora_keeps_every_rank(lab: Lab, tmp_path: Path) -> None:
    record, masks = _trained(lab, tmp_path / "out", "svd_lora")
    assert all(all(mask) and len(mask) == 2 for mask in masks.values())
    assert all((rank.start, rank.end) == (2, 2) for rank in record.ranks.values())


@pytest.mark.parametrize(
    ("adapter", "chosen", "want"),
    [
        ("lora", None, False),
        ("lora", True, True),
        ("adalora", None, True),
        ("adalora", False, False),
    ],
)
def test_the_regularizer_is_there_where_the_method_says_so(adapter: str, chosen: bool | None, want: bool) -> None:
    cell = cell_of(adapter=adapter, allocator="fixed", method={"regularizer": chosen}, orthogonality=0.5)
    shapes = [(8, 12), (8, 8)]
    core = build_core(
        adapted(shapes, 2, svd=adapter == "adalora", random=True),
        sites_of(shapes),
        cell,
        RankSchedule(initial_budget=4, target_budget=4, total_steps=3),
    )
    before = core.flat.grad.clone()
    core.accumulate(torch.zeros((), requires_grad=True))
    report = core.step()
    assert torch.equal(before, torch.zeros_like(before))
    assert (float(report.regularizer) > 0) is want
    assert (float(report.grad_norm) > 0) is want
