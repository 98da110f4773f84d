"""The step whose memory is measured, and the steps whose time is, import nothing: a small batch does it before."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from helpers.small_cells import Lab, record_of

LATE = 30 * 2**20  # bytes


def note_imports(file: Path) -> None:
    """Write to `file`, for the pass that is set apart, the measured one and the training steps, what they import.

    The first pass of all imports a module and keeps `LATE` bytes, as the first use of a kernel or a compiler may.
    """
    from bench.training import rehearsal
    from bench.training.loop import Loop
    from bench.training.measure import PeakMemory

    def noted(name: str, before: set[str]) -> None:
        with file.open("a") as notes:
            print(name, *sorted(set(sys.modules) - before), file=notes)

    for name in ("set_apart", "measured"):
        original = getattr(PeakMemory, name)

        @contextmanager
        def noting(peak: PeakMemory, name: str = name, original: object = original) -> Iterator[None]:
            before = set(sys.modules)
            with original(peak):
                yield
            noted(name, before)

        setattr(PeakMemory, name, noting)
    loss, kept = rehearsal.task_loss, []

    def late(*args: Any) -> Any:
        import xmlrpc.client  # noqa: F401

        if not kept:
            kept.append(b"x" * LATE)
        return loss(*args)

    rehearsal.task_loss = late
    train_step = Loop.train_step

    def step(loop: Loop, rows: list[int]) -> None:
        before = set(sys.modules)
        train_step(loop, rows)
        noted("step", before)

    Loop.train_step = step


@pytest.mark.parametrize(("method", "checkpointing"), [("lora", True), ("qlora", True), ("dora", False)])
def test_no_step_that_is_measured_imports_anything(
    lab: Lab, tmp_path: Path, method: str, *, checkpointing: bool
) -> None:
    cell = lab.prepare(lab.cell(method, gradient_checkpointing=checkpointing, epochs=1))
    file = tmp_path / "imports"
    assert lab.train(cell, tmp_path / "out", every=None, before=partial(note_imports, file)) == 0
    names = [line.split() for line in file.read_text().splitlines()]
    assert [name for name, *_ in names[:3]] == ["set_apart", "measured", "step"]
    assert "xmlrpc.client" in names[0]
    assert [modules for _, *modules in names[1:]] == [[]] * (len(names) - 1)
    growth = record_of(tmp_path / "out").bytes.peak.growth
    assert growth is not None
    assert growth < LATE
