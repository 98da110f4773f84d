"""How fast a training goes, from a curve that it writes: of this attempt alone, by whichever clock the files have."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from bench.progress.curve_tail import CurveTail

DAY = 86400.0


def write(file: Path, steps: range, time: float) -> None:
    """Append the lines of these steps, at `time` on the file system's clock."""
    with file.open("a") as stream:
        stream.writelines(json.dumps({"step": step, "loss": 0.5}) + "\n" for step in steps)
    os.utime(file, (time, time))


def test_a_training_that_is_seen_from_its_beginning(tmp_path: Path) -> None:
    tail = CurveTail(tmp_path / "curve.jsonl")
    tail.update()
    for end, rate in ((11, None), (21, 2.0), (31, 2.0)):
        write(tail.file, range(end - 10, end), 1e9 + 2 * end)
        tail.update()
        assert (tail.step, tail.rate) == (end - 1, rate)


def test_the_night_before_a_resumed_attempt_is_no_time_of_its_steps(tmp_path: Path) -> None:
    """The curve is looked at before the new attempt writes: it still loads its libraries then."""
    tail = CurveTail(tmp_path / "curve.jsonl")
    write(tail.file, range(1, 11), 1e9)
    tail.update()
    assert (tail.step, tail.rate, tail.age) == (10, None, 0.0)
    write(tail.file, range(11, 21), 1e9 + DAY)
    tail.update()
    assert (tail.step, tail.rate) == (20, None)
    write(tail.file, range(21, 31), 1e9 + DAY + 20)
    tail.update()
    assert (tail.step, tail.rate) == (30, 2.0)


def test_the_clock_of_the_file_system_may_be_another_one(tmp_path: Path) -> None:
    tail = CurveTail(tmp_path / "curve.jsonl")
    for steps in (range(1, 11), range(11, 21)):
        write(tail.file, steps, 1e9 + steps[0])
        tail.update()
    assert tail.age == pytest.approx(0.0, abs=5.0)
