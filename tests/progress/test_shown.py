"""The state of a run as a picture, and as lines."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from bench.paths import StudyPaths
from bench.progress.lines import changes, ending
from bench.progress.picture import picture
from bench.progress.state import CellProgress, Snapshot, in_words

NAME = "cnn_dailymail/qlora_adalora/large/seed-0"
RUNNING = CellProgress(NAME, False, "running", step=15, steps=40, loss=0.5123, ranks=98, cap=72, left=200.0)


def drawn(snapshot: Snapshot, width: int, height: int) -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=width, height=height, legacy_windows=False).print(picture(snapshot, width, height))
    return [line.rstrip() for line in stream.getvalue().splitlines()]


def waiting(number: int, *, trials: bool = False) -> list[CellProgress]:
    return [CellProgress(f"cola/lora/small/{trials}{k}", trials, "waiting") for k in range(number)]


def test_a_running_cell_has_step_loss_ranks_and_time() -> None:
    lines = drawn(Snapshot("demo", (RUNNING, *waiting(3)), left=600.0), 100, 24)
    assert lines[0] == "demo  about 10 min left"
    assert "0 of 4 done, 1 running" in lines[1]
    assert lines[2].split() == ["running", "step", "loss", "ranks/cap", "left"]
    assert lines[3].split() == [NAME, "15/40", "0.512", "98/72", "3", "min"]


def test_trials_are_told_apart_from_final_cells() -> None:
    trials = [replace(cell, stage="done") for cell in waiting(5, trials=True)]
    lines = drawn(Snapshot("tuned", (*trials, *waiting(2))), 80, 24)
    assert [line.split()[0] for line in lines[1:]] == ["trials", "cells"]
    assert "5 of 5 done" in lines[1]
    assert "0 of 2 done" in lines[2]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (60, 12), (160, 50)])
def test_the_picture_fits_the_terminal(width: int, height: int) -> None:
    running = [replace(RUNNING, id=f"{NAME}{k}", left=float(k)) for k in range(100)]
    lines = drawn(Snapshot("demo", tuple(running), doing=("making tables, figures and page",)), width, height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    shown = [line for line in lines if "15/40" in line]
    assert len(shown) >= height - 7
    assert lines[-1] == f"and {100 - len(shown)} more that run"
    assert "0 s" in shown[0]  # those that end soonest stay


def test_a_cell_after_its_last_step_is_scored() -> None:
    assert drawn(Snapshot("demo", (replace(RUNNING, step=40),)), 100, 24)[-1].endswith("scoring")


def test_lines_tell_what_happened() -> None:
    first, second = waiting(2)
    before = Snapshot("demo", (first, second))
    assert changes(None, before) == ["demo: 0 of 2 cells done"]
    assert changes(before, before) == []
    began = Snapshot("demo", (replace(first, stage="starting"), second))
    assert changes(before, began) == [f"started {first.id}"]
    training = Snapshot("demo", (replace(first, stage="running", step=3), second))
    assert changes(began, training) == []
    done = replace(first, stage="done", result="mcc 0.512", seconds=11.8)
    failed = replace(second, stage="failed", message="oom: too large", log="a.log")
    after = Snapshot("demo", (done, second), left=12.0)
    assert changes(training, after) == [f"done {first.id}: mcc 0.512 in 12 s (1 of 2 cells done, about 12 s left)"]
    assert changes(after, Snapshot("demo", (done, failed))) == [
        f"failed {second.id}: oom: too large (whole log: a.log) (1 of 2 cells done)"
    ]


def test_another_attempt_is_told() -> None:
    (cell,) = waiting(1)
    failed = Snapshot("demo", (replace(cell, stage="failed", message="killed", log="a.log"),))
    assert changes(failed, Snapshot("demo", (replace(cell, stage="starting"),))) == [f"started again {cell.id}"]


def test_the_first_look_names_failures_that_stand() -> None:
    failed = [replace(cell, stage="failed", message="oom", log="a.log") for cell in waiting(30)]
    lines = changes(None, Snapshot("demo", tuple(failed)))
    assert lines[0] == "demo: 0 of 30 cells done"
    assert len(lines) == 22
    assert lines[-1] == "and 10 more that failed"


def test_the_end_names_what_is_there(tmp_path: Path) -> None:
    paths = StudyPaths(tmp_path, "demo")
    assert ending(paths) == []
    paths.tables.mkdir(parents=True)
    (paths.tables / "cost.md").touch()
    assert ending(paths) == [f"tables: {paths.tables}/*.md"]
    paths.page.touch()
    assert ending(paths)[1] == f"page: {paths.page}"


def test_durations_in_words() -> None:
    assert [in_words(seconds) for seconds in (0.4, 89, 90, 3570, 5000)] == [
        "0 s",
        "89 s",
        "2 min",
        "1 h 0 min",
        "1 h 23 min",
    ]
