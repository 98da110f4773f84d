"""Fault 1: kill -9 in the middle of a checkpoint, at whatever write hypothesis picks, several times in a row."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from helpers.small_cells import Lab, Moment, outcome
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.config.cell import Cell


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(kills=st.lists(st.tuples(st.sampled_from(["fsync", "rename"]), st.integers(1, 60)), min_size=1, max_size=4))
def test_the_previous_checkpoint_is_used(
    shared_lab: Lab,
    tmp_path_factory: Any,
    undisturbed: Callable[[Lab, Cell], dict[str, Any]],
    kills: list[tuple[str, int]],
) -> None:
    folder: Path = tmp_path_factory.mktemp("kills")
    lab = replace(shared_lab, cache=folder / "cache")
    cell, out = lab.prepare(lab.cell("adalora")), folder / "out"
    for place, count in kills:
        assert lab.train(cell, out, Moment(place, count, signal.SIGKILL)) in (0, -signal.SIGKILL)
    assert lab.train(cell, out) == 0
    assert outcome(out) == undisturbed(lab, cell)
    left = [path for path in folder.rglob("*") if ".tmp" in path.name]
    assert not left, "a temporary of a killed try is still there"
