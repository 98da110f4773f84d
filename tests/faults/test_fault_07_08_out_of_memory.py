"""Faults 7 and 8: memory that really runs out, under a real limit (RLIMIT_AS), in training and in evaluation.

There is no GPU here: the device is the CPU, whose allocator fails for real. torch.OutOfMemoryError takes the same way.
"""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers.small_cells import Lab, outcome, record_of, run_out_of_memory

from bench.errors import EXIT_TRY_AGAIN

GIB = 2**30


def test_fault_07_a_typed_record_with_the_peak(lab: Lab, tmp_path: Path) -> None:
    cell = lab.prepare(lab.cell("adalora"))
    assert lab.train(cell, tmp_path / "out", before=_starve_training) == 0
    record = record_of(tmp_path / "out")
    assert record.status == "oom"
    assert record.message is not None
    assert "allocate" in record.message
    assert record.reported is None
    assert record.bytes is not None
    assert record.bytes.peak.peak > 0
    assert record.training is not None
    assert record.training.steps == 2
    assert any("_starve" in line or "accumulate" in line for line in record.log_tail)
    assert not list((lab.cache / "checkpoints").iterdir())


def test_fault_07_the_host_may_have_more_at_the_next_try(
    lab: Lab, tmp_path: Path, undisturbed: Callable[..., Any]
) -> None:
    cell = lab.prepare(lab.cell("adalora"))
    assert lab.train(cell, tmp_path / "out", before=_starve_training, attempts=2) == EXIT_TRY_AGAIN
    assert not (tmp_path / "out" / "record.json").exists()
    assert lab.train(cell, tmp_path / "out", attempt=2, attempts=2) == 0
    assert outcome(tmp_path / "out") == undisturbed(lab, cell)


def test_fault_07_a_device_that_others_fill_says_nothing_about_the_cell(lab: Lab, tmp_path: Path) -> None:
    cell = lab.prepare(lab.cell("adalora"))
    assert lab.train(cell, tmp_path / "out", before=_share_a_full_device, attempts=2) == EXIT_TRY_AGAIN
    assert not (tmp_path / "out" / "record.json").exists()
    assert lab.train(cell, tmp_path / "out", before=_share_a_full_device, attempt=2, attempts=2) == 0
    record = record_of(tmp_path / "out")
    assert record.status == "failed"
    assert record.message is not None
    assert "out of memory while processes [4242] used the device too" in record.message


def test_fault_08_the_evaluation_batch_halves_and_is_recorded(
    lab: Lab, tmp_path: Path, undisturbed: Callable[..., Any]
) -> None:
    cell = lab.prepare(lab.cell("adalora"))
    assert lab.train(cell, tmp_path / "out", before=_starve_evaluation) == 0
    record, calm = record_of(tmp_path / "out"), undisturbed(lab, cell)
    assert record.status == "ok"
    assert record.evaluation == {"batch_size": 2, "halvings": 2}
    assert record.metrics == calm["record"]["metrics"]
    assert outcome(tmp_path / "out")["files"]["curve.jsonl"] == calm["files"]["curve.jsonl"]


def _share_a_full_device() -> None:
    """The device's allocator fails, and the driver names another process on it: stand-ins for both."""
    from bench.training import run

    run.other_processes = lambda _device: [4242]
    run_out_of_memory()


def _limit(spare: int) -> None:
    """The process may grow by `spare` bytes from here on, where all code is loaded. pyarrow reserves a GiB of addresses
    at its first array: had it to fit into `spare`, it would sometimes leave nothing."""
    import pyarrow

    import bench.training.run

    assert bench.training.run
    assert len(pyarrow.array(range(1000))) == 1000
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + spare
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _starve_training() -> None:
    """At the third step the activations need 4 GiB, and there is one."""
    import torch

    from bench.engine.step import Core

    _limit(GIB)
    original, steps = Core.accumulate, [0]

    def accumulate(*args: Any, **kwargs: Any) -> None:
        steps[0] += 1
        if steps[0] == 3:
            torch.empty(4 * GIB, dtype=torch.uint8)
        original(*args, **kwargs)

    Core.accumulate = accumulate  # type: ignore[method-assign]


def _starve_evaluation() -> None:
    """A row of an evaluation batch needs 300 MiB more, and there is 1 GiB: two rows fit."""
    import torch

    from bench.evaluation import predictors

    _limit(GIB)
    original = predictors.task_loss

    def task_loss(model: Any, batch: Any, kind: str) -> Any:
        torch.empty(len(batch.targets) * 300 * 2**20, dtype=torch.uint8)
        return original(model, batch, kind)

    predictors.task_loss = task_loss
