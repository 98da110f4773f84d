"""A GPU that no longer answers, or never did, leaves a record in the last attempt. The GPU is missing, not imitated."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from helpers.small_cells import Lab, record_of

from bench.errors import EXIT_TRY_AGAIN

ILLEGAL = "CUDA error: an illegal memory access was encountered"


def without_driver() -> None:
    """The cell is given a GPU, and its first call to CUDA fails, as it really does on a machine without a driver."""
    import torch

    import bench.training.run

    bench.training.run.usable_device = lambda: torch.device("cuda")


def after_a_sticky_error(*, deferred: bool = False) -> None:
    """The third micro-batch meets an error after which no call to CUDA works any more.

    deferred: as PyTorch words it for calls that it made when CUDA started; that class is no RuntimeError.
    """
    from torch.cuda import DeferredCudaCallError

    from bench.engine.step import Core
    from bench.training import record_parts
    from bench.training.measure import PeakMemory

    original, calls = Core.accumulate, [0]

    def fail(*_: object, **__: object) -> None:
        raise (DeferredCudaCallError if deferred else RuntimeError)(ILLEGAL)

    def accumulate(*args: object) -> None:
        calls[0] += 1
        if calls[0] == 3:
            Core.skipped_steps = PeakMemory.read = record_parts.matmul_precision = fail
            fail()
        original(*args)

    Core.accumulate = accumulate


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_where_cuda_does_not_start(lab: Lab, tmp_path: Path, method: str) -> None:
    cell, out = lab.prepare(lab.cell(method)), tmp_path / "out"
    assert lab.train(cell, out, before=without_driver, attempt=1, attempts=2) == EXIT_TRY_AGAIN
    assert not out.exists()
    assert lab.train(cell, out, before=without_driver, attempt=2, attempts=2) == 0
    record = record_of(out)
    assert (record.status, record.environment["device"]) == ("failed", "cuda")
    assert "NVIDIA" in record.message or "CUDA" in record.message
    assert record.bytes.peak.peak == 0
    assert record.log_tail


@pytest.mark.parametrize("error", ["RuntimeError", "DeferredCudaCallError"])
def test_after_an_error_that_stays(lab: Lab, tmp_path: Path, error: str) -> None:
    cell, out = lab.prepare(lab.cell("adalora")), tmp_path / "out"
    fail = partial(after_a_sticky_error, deferred=error == "DeferredCudaCallError")
    assert lab.train(cell, out, before=fail) == 0
    record = record_of(out)
    assert (record.status, record.message) == ("failed", f"{error}: {ILLEGAL}")
    assert record.training is None
    assert record.environment["matmul_precision"] is None
