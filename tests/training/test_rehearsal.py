"""The step whose memory is measured, and the steps whose time is, import nothing: a pass that does is made again."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from helpers.small_cells import Lab, record_of

LATE = 30 * 2**20  # bytes


def note_imports(file: Path) -> None:
    """Write to `file`, for each pass of the rehearsal and for the training steps, what they import.

    The first pass of all imports a module and keeps `LATE` bytes, as the first use of a kernel or a compiler may.
    """
    from bench.training import rehearsal
    from bench.training.loop import Loop

    def noted(name: str, before: set[str]) -> None:
        with file.open("a") as notes:
            print(name, *sorted(set(sys.modules) - before), file=notes)

    rehearsed = rehearsal._pass

    def passing(*args: Any) -> None:
        before = set(sys.modules)
        rehearsed(*args)
        noted("pass", before)

    rehearsal._pass = passing
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
    assert [name for name, *_ in names[:3]] == ["pass", "pass", "step"]
    assert "xmlrpc.client" in names[0]
    assert [modules for _, *modules in names[1:]] == [[]] * (len(names) - 1)
    growth = record_of(tmp_path / "out").bytes.peak.growth
    assert growth is not None
    assert growth < LATE
