"""Whole cells as users train them, of the study `demo`: interrupted, several in one job, one in two processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.config.resolve import load_study
from bench.errors import TransientError
from bench.nvml import visible_gpus
from bench.packaged import WORKFLOW
from bench.paths import StudyPaths, cell_id, default_cache
from bench.records.io import read_record
from bench.records.schema import Record, result_of
from bench.selfcheck.check import Finding, Place, judged

STUDY, TASK = "demo", "cola"
SHORT = (
    "recipe.max_steps=12",
    "limits.train_rows=96",
    "limits.evaluation_rows=32",
    "recipe_from=null",
    "recipe.batch_size=8",
)
STOPPED_AT = 7  # of 12 steps: ranks are being pruned
LAST_LINES = 15


def interrupted(place: Place) -> Finding:
    """Train a cell, and the same cell with a signal in between, and compare curve, predictions and adapter."""
    wrong = []
    methods = ("adalora", "qlora_adalora", "lora", "qlora") if place.deep else ("qlora_adalora",)
    for method in methods:
        whole, parts = (_trained(place, method, stop=stop) for stop in (False, True))
        if parts.training is None or parts.training.resumed_at != (STOPPED_AT,):
            wrong.append(f"{method} did not go on at step {STOPPED_AT}")
        elif result_of(whole) != result_of(parts):
            files = [name for name, sha256 in whole.files.items() if parts.files.get(name) != sha256]
            wrong.append(f"{method}: other {', '.join(files) or 'record'}")
    return judged(not wrong, "; ".join(wrong) or f"{', '.join(methods)}: the same bits")


def _trained(place: Place, method: str, *, stop: bool) -> Record:
    from bench.inputs.prepare import prepare_missing
    from bench.training.run import train_cell

    cell = load_study(STUDY, SHORT, WORKFLOW).find(TASK, method, "small", 0)
    results = place.folder / "trainings"
    cache, out = default_cache(results), results / f"{method}-{'stopped' if stop else 'whole'}"
    prepare_missing([cell], None, cache)

    def stopping(line: Mapping[str, Any]) -> None:
        if line.get("step") == STOPPED_AT:
            os.kill(os.getpid(), signal.SIGTERM)

    if stop:
        try:
            return train_cell(cell, out=out, cache=cache, watch=stopping)
        except TransientError:
            return train_cell(cell, out=out, cache=cache, attempt=2)
    return train_cell(cell, out=out, cache=cache)


def several_in_a_job(place: Place) -> Finding:
    """Train two cells by `bench group`: each is forked from a process that must not have touched the GPU."""
    results = place.folder / "job"
    names = ("lora/small/0", "qlora/small/0")
    text = _bench(place, results, "group", "--task", TASK, "--cells", *names)
    records = [_record(results, *name.split("/")) for name in names]
    return _all_ok(place, records, text, _log(results, "lora") + _log(results, "qlora"))


def in_two_processes(place: Place) -> Finding:
    """Train a cell in two processes, on a GPU each: they must meet, share every step, and leave one record."""
    if place.device == "cuda" and len(visible_gpus()) < 2:
        return Finding("skipped", "one GPU")
    results = place.folder / "processes"
    cell = ("--task", TASK, "--method", "adalora", "--budget", "small", "--seed", "0")
    together = ("--set", "recipe.processes=2", "--set", "cells_per_job=1")
    text = _bench(place, results, "train", *cell, *together)
    return _all_ok(place, [_record(results, "adalora", "small", "0")], text, "")


def _all_ok(place: Place, records: Sequence[Record | None], text: str, logs: str) -> Finding:
    """Whether there are records of trained cells, of this kind of device."""
    stated = [(record.status, record.environment["device"].split(":")[0]) if record else None for record in records]
    passed = all(found == ("ok", place.device) for found in stated)
    told = ", ".join(f"{found[0]} on {found[1]}" if found else "no record" for found in stated)
    tail = [] if passed else (logs or text).splitlines()[-LAST_LINES:]
    return judged(passed, told + (f": {tail[-1]}" if tail else ""), log=tail)


def _bench(place: Place, results: Path, *words: str) -> str:
    """What `bench WORDS` prints, on the short study, in a process of its own."""
    command = [sys.executable, "-m", "bench.cli", words[0], "--study", STUDY, "--results", str(results)]
    command += ["--cache", str(default_cache(place.folder / "trainings")), "--workflow", str(WORKFLOW), *words[1:]]
    for override in SHORT:
        command += ["--set", override]
    environment = {**os.environ, **({"CUDA_VISIBLE_DEVICES": ""} if place.device == "cpu" else {})}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    return done.stdout + done.stderr


def _record(results: Path, method: str, budget: str, seed: str) -> Record | None:
    file = StudyPaths(results, STUDY).cell(cell_id(TASK, method, budget, seed)).record
    return read_record(file) if file.is_file() else None


def _log(results: Path, method: str) -> str:
    file = StudyPaths(results, STUDY).log(cell_id(TASK, method, "small", 0))
    return file.read_text(errors="replace") if file.is_file() else ""
