"""What a record says of several tries at one cell: the memory of the largest, and the devices of all of them."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers.small_cells import Lab, Moment, record_of

from bench.errors import EXIT_TRY_AGAIN
from bench.estimate.duration import timed_record
from bench.training import rehearsal
from bench.training.batches import Padded
from bench.training.measure import PeakMemory

HUGE = 10**15  # bytes


def work_on(device: str, peak: int) -> None:
    """Let this process believe that its device is of that model and that it took that much memory at the most."""
    from bench.records import environment
    from bench.training import measure

    environment._device_name = lambda _device: device
    status_bytes = measure._status_bytes
    measure._status_bytes = lambda field: peak if field == "VmHWM" else status_bytes(field)


@pytest.mark.parametrize("moment", [Moment("step", 6), Moment("evaluation", 1)], ids=["training", "evaluation"])
@pytest.mark.parametrize("second", ["A", "B"])
def test_all_tries_count(lab: Lab, tmp_path: Path, moment: Moment, second: str) -> None:
    cell, out = lab.prepare(lab.cell("adalora")), tmp_path / "out"
    assert lab.train(cell, out, moment, every=None, before=partial(work_on, "A", HUGE)) == EXIT_TRY_AGAIN
    assert lab.train(cell, out, every=None, before=partial(work_on, second, HUGE // 2)) == 0
    record = record_of(out)
    assert record.bytes.peak.peak == HUGE
    assert record.training.devices == (("A",) if second == "A" else ("A", "B"))
    forecast = timed_record(json.loads((out / "record.json").read_text()))
    assert (forecast is None) is (second == "B")  # seconds of a mixture are those of no device


def test_a_try_that_goes_on_from_nothing_counts_alone(lab: Lab, tmp_path: Path) -> None:
    cell, out = lab.prepare(lab.cell("adalora")), tmp_path / "out"
    assert lab.train(cell, out, Moment("step", 2, 9), every=None, before=partial(work_on, "A", HUGE)) == -9
    assert lab.train(cell, out, every=None, before=partial(work_on, "B", HUGE // 2)) == 0
    assert record_of(out).bytes.peak.peak == HUGE // 2
    assert record_of(out).training.devices == ("B",)


def test_on_a_gpu_the_largest_batch_is_measured_before_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for PyTorch's allocator, whose peak the step raises."""
    peak = [10]
    counts = {
        "is_initialized": lambda: True,
        "reset_peak_memory_stats": lambda _device: None,
        "max_memory_allocated": lambda _device: peak[0],
        "max_memory_reserved": lambda _device: 2 * peak[0],
        "memory_stats": lambda _device: {"requested_bytes.all.peak": peak[0] - 1},
    }
    monkeypatch.setattr(torch, "cuda", SimpleNamespace(**counts))
    memory = PeakMemory(torch.device("cuda"))
    memory.measure(lambda: peak.__setitem__(0, 100))
    measured = memory.read(predicted=90)
    assert (measured.device, measured.peak, measured.reserved, measured.requested) == ("cuda", 100, 200, 99)
    assert (measured.growth, measured.predicted) == (None, 90)
    memory.earlier = {"peak": 150, "reserved": 170, "requested": 140}
    again = memory.read()
    assert (again.peak, again.reserved, again.requested) == (150, 200, 140)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_rehearsal_is_of_the_largest_batch_on_every_device(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    passes = []
    monkeypatch.setattr(rehearsal, "_pass", lambda _model, _core, _collate, rows: passes.append(list(rows)))
    core = SimpleNamespace(flat=SimpleNamespace(device=torch.device(device)))
    split = SimpleNamespace(input_ids=[[1], [1, 2], [1, 2, 3], [1]])
    peak = SimpleNamespace(measure=lambda step: step())
    rehearsal.rehearse(peak, None, core, SimpleNamespace(split=split), Padded([3, 0, 2], 3, 0))
    assert passes == [[3, 0, 2]]
