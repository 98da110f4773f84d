"""An interrupted training equals an uninterrupted one, bit for bit, in every phase."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import safetensors.torch
import torch
from helpers.toy_models import batches, cell_of, core_of, loss_of

from bench.engine.schedule import RankSchedule
from bench.errors import BenchError

SHAPES = [(8, 16), (16, 8), (8, 8), (12, 8)]
SCHEDULE = RankSchedule(
    initial_budget=16, target_budget=5, initial_steps=4, final_steps=6, interval=3, total_steps=18
)  # freezes at 12


def run(core, until: int, data: list) -> list[float]:
    losses = []
    for step in range(core.completed, until):
        core.accumulate(loss_of(core.model, data[step]))
        report = core.step()
        losses += [float(report.loss), float(report.grad_norm), float(report.regularizer)]
    return losses


def through_files(core, folder, **settings):
    """The state written and read as a checkpoint is, into a new core."""
    tensors, plain = core.state_dict()
    safetensors.torch.save_file(tensors, folder / "state.safetensors")
    plain = json.loads(json.dumps(plain))
    fresh = core_of(SHAPES, 4, SCHEDULE, cell_of(**settings))
    fresh.flat.data.normal_()  # the new process starts from anything
    fresh.load_state_dict(safetensors.torch.load_file(folder / "state.safetensors"), plain)
    return fresh


STOPS = [(2,), (4,), (7,), (11,), (12,), (14,), (3, 8, 13), (12, 13), (5, 5, 16, 17)]
KINDS = [
    {},
    {"method": {"compact": False}},
    {"method": {"importance": "sensitivity"}},
    {"method": {"importance": "magnitude", "unit": "ranks"}},
]


@pytest.mark.parametrize("settings", KINDS, ids=["default", "not compacted", "sensitivity", "magnitude"])
@pytest.mark.parametrize(
    "stops", [(2,), (4,), (7,), (11,), (12,), (14,), (3, 8, 13), (12, 13), (5, 5, 16, 17)], ids=str
)
def test_resuming_gives_the_same_bits(tmp_path, stops, settings):
    data = [batch for batch, _ in zip(batches(0, 8, 16), range(18), strict=False)]
    whole = core_of(SHAPES, 4, SCHEDULE, cell_of(**settings))
    core = core_of(SHAPES, 4, SCHEDULE, cell_of(**settings))
    want, got = run(whole, 18, data), []
    for stop in stops:
        got += run(core, stop, data)
        core = through_files(core, tmp_path, **settings)
    got += run(core, 18, data)
    assert got == want
    ours, theirs = core.state_dict(), whole.state_dict()
    assert ours[1] == theirs[1]
    assert ours[0].keys() == theirs[0].keys()
    for name, tensor in ours[0].items():
        assert torch.equal(tensor, theirs[0][name]), name
    assert core.masks() == whole.masks()


def test_a_used_core_takes_an_earlier_state_again():
    data = [batch for batch, _ in zip(batches(0, 8, 16), range(18), strict=False)]
    core = core_of(SHAPES, 4, SCHEDULE)
    run(core, 6, data)
    tensors, plain = core.state_dict()
    want = run(core, 18, data)
    core.load_state_dict(tensors, plain)
    assert run(core, 18, data) == want


def test_a_state_of_another_training_is_refused():
    core = core_of(SHAPES, 4, SCHEDULE)
    other = core_of(SHAPES, 4, replace(SCHEDULE, target_budget=6))
    with pytest.raises(BenchError, match="another training"):
        other.load_state_dict(*core.state_dict())
