"""A training goes on with the generator of its own GPU, however many GPUs its checkpoint's process saw."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench.distributed import SINGLE_PROCESS
from bench.files import digest
from bench.training.checkpoints import Checkpoint, Checkpoints
from bench.training.rng import random_states, restore_random_state

See = Callable[[int, int], list[torch.Generator]]


@pytest.fixture
def see(monkeypatch: pytest.MonkeyPatch) -> See:
    """Let this process see so many GPUs and work on one of them. Their generators are stand-ins of the CPU."""

    def now(count: int, current: int) -> list[torch.Generator]:
        generators = [torch.Generator().manual_seed(number) for number in range(count)]
        monkeypatch.setattr("torch.cuda.is_available", lambda: True)
        monkeypatch.setattr("torch.cuda.default_generators", tuple(generators))
        monkeypatch.setattr("torch.cuda.random._lazy_init", lambda: None)
        monkeypatch.setattr("torch.cuda.random._lazy_call", lambda function: function())
        monkeypatch.setattr("torch.cuda.random.device_count", lambda: count)
        monkeypatch.setattr("torch.cuda.random.current_device", lambda: current)
        return generators

    return now


@pytest.mark.parametrize(("before", "after"), [((2, 0), (1, 0)), ((12, 10), (1, 0)), ((1, 0), (12, 2))])
def test_the_number_of_gpus_that_are_seen_may_change(see: See, before: tuple[int, int], after: tuple[int, int]) -> None:
    used = see(*before)[before[1]]
    torch.rand(3, generator=used)
    tensors, plain = random_states(SINGLE_PROCESS)
    expected = torch.rand(5, generator=used)
    goes_on = see(*after)[after[1]]
    restore_random_state(tensors, plain, SINGLE_PROCESS)
    assert torch.equal(torch.rand(5, generator=goes_on), expected)


def test_a_checkpoint_of_the_cpu_is_read_beside_a_gpu(see: See) -> None:
    tensors, plain = random_states(SINGLE_PROCESS)
    expected = torch.rand(5)
    see(1, 0)
    restore_random_state(tensors, plain, SINGLE_PROCESS)
    assert torch.equal(torch.rand(5), expected)


def test_a_checkpoint_that_can_not_be_loaded_never_blocks_its_cell(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, {})
    checkpoints.curve.touch()
    checkpoints.save(3, {"x": torch.zeros(1)}, {"curve": {"length": 0, "sha256": digest(b"")}})

    def load(_: Checkpoint) -> None:
        raise IndexError("tuple index out of range")

    found, faults = checkpoints.resume(load)
    assert found is None
    assert faults == ["step-000000003: tuple index out of range"]
