"""A core is copied and pickled with its model, whatever scores its ranks; a copy goes on with its own parameters."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from helpers.toy_models import assert_same_bits, batches, cell_of, core_of, loss_of

from bench.config.rank_rules import Gates, Growth, Moving, Salience
from bench.engine.allocators.names import ALLOCATORS
from bench.engine.schedule import RankSchedule
from bench.engine.step import Core

SHAPES = [(16, 12), (12, 16), (12, 12)]
PRUNED = RankSchedule(
    initial_budget=12, target_budget=5, initial_steps=3, final_steps=3, interval=3, total_steps=15
)  # freezes at 12
FULL = RankSchedule(initial_budget=6, target_budget=6, initial_steps=3, final_steps=3, total_steps=15)
METHODS: dict[str, dict[str, object]] = {
    "adalora": {},
    "snr": {},
    "salientlora": {"salience": Salience(first_window=3, last_window=4)},
    "elalora": {"moving": Moving(times=3)},
    "l1ra": {"gates": Gates(times=3)},
    "increlora_reserve": {"growth": Growth(start_rank=1, checks=3)},
}


def halfway(allocator: str) -> tuple[Core, list]:
    schedule = PRUNED if ALLOCATORS[allocator].ranks == "pruned" else FULL
    core = core_of(SHAPES, 4, schedule, cell_of(allocator=allocator, method=METHODS[allocator]))
    data = [batch for batch, _ in zip(batches(0, 8, 16), range(15), strict=False)]
    for batch in data[:7]:
        core.accumulate(loss_of(core.model, batch))
        core.step()
    return core, data[7:]


@pytest.mark.parametrize("allocator", METHODS)
def test_a_copy_goes_on_as_the_first_one(allocator: str) -> None:
    core, data = halfway(allocator)
    other, before = copy.deepcopy(core), core.state_dict()[0]["parameters"]
    other.flat.rejoin()  # as a copied model does at its first use
    for batch in data:
        other.accumulate(loss_of(other.model, batch))
        other.step()
    assert torch.equal(core.state_dict()[0]["parameters"], before)  # the first one was left alone
    for batch in data:
        core.accumulate(loss_of(core.model, batch))
        core.step()
    assert_same_bits(other, core)


@pytest.mark.parametrize("allocator", METHODS)
def test_a_pickled_core_has_the_same_ranks_and_state(allocator: str) -> None:
    core, _ = halfway(allocator)
    buffer = io.BytesIO()
    torch.save(core, buffer)
    buffer.seek(0)
    other = torch.load(buffer, weights_only=False)
    assert other.masks() == core.masks()
    assert_same_bits(other, core)
