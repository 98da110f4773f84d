"""How long a cell will take, from records of cells like it; None where there are none: never invented. No torch."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any

from bench.config.cell import Cell
from bench.paths import all_records

SHAPE = ("batch_size", "accumulation", "max_length", "max_target_length", "evaluation_batch_size",
         "gradient_checkpointing")  # fmt: skip


@dataclass(frozen=True)
class Timed:
    """What a record tells of time: seconds a step, and what comes on top (start-up, evaluation, saving)."""

    study: str
    cell: str
    spec_hash: str
    device: str
    alike: tuple[Any, ...]
    task: tuple[Any, ...]
    method: str
    step: float
    other: float
    total: float


@dataclass(frozen=True)
class Forecast:
    """Seconds of one cell, from this many records; `by`: in what these are like it."""

    seconds: float
    records: int
    by: str


class Forecaster:
    """Forecasts come from records of the device that most of them were made on."""

    def __init__(self, timed: Sequence[Timed]) -> None:
        devices = Counter(one.device for one in timed)
        self.device = min(devices, key=lambda name: (-devices[name], name)) if devices else None
        self.timed = [one for one in timed if one.device == self.device]
        self._taken = {(one.study, one.cell, one.spec_hash): one.total for one in timed}

    def seconds(self, cell: Cell, steps: int | None) -> Forecast | None:
        """Of the nearest kind of records that there is: the same task and method, the same task with another method on
        the same base, another task at the same backbone, base and lengths. Steps are what differs, nothing else is
        scaled."""
        if steps is None:
            return None
        alike, task = _alike(cell.model_dump(mode="json")), _task(cell.model_dump(mode="json"))
        kinds: dict[str, Callable[[Timed], bool]] = {
            "task and method": lambda one: one.task == task and one.method == cell.method.name,
            "task": lambda one: one.task == task,
            "backbone and length": lambda one: one.alike == alike,
        }
        near = [one for one in self.timed if one.alike == alike]
        for name, fits in kinds.items():
            found = [one for one in near if fits(one)]
            if found:
                step, other = median(one.step for one in found), median(one.other for one in found)
                return Forecast(steps * step + other, len(found), name)
        return None

    def taken(self, cell: Cell) -> float | None:
        """Seconds that the cell took, on whichever device, where its own study has a record of it."""
        return self._taken.get((cell.study, cell.id, cell.spec_hash))


@lru_cache(maxsize=8)
def forecaster(results: Path) -> Forecaster:
    """From every record below results/; a file that is no record that ended well tells nothing."""
    files = all_records(results)
    return Forecaster([one for one in map(_timed, files) if one is not None])


def _timed(file: Path) -> Timed | None:
    try:
        record = json.loads(file.read_bytes())
        training, spec = record["training"], record["spec"]
        seconds = training["seconds"]
        if record["status"] != "ok" or not training["steps"]:
            return None
        return Timed(
            study=record["cell"]["study"], cell=record["cell"]["id"], spec_hash=record["cell"]["spec_hash"],
            device=str(record["environment"].get("device_name")), alike=_alike(spec), task=_task(spec),
            method=spec["method"]["name"], step=seconds["training"] / training["steps"],
            other=seconds["startup"] + seconds["evaluation"] + seconds["saving"], total=seconds["total"],
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _alike(spec: dict[str, Any]) -> tuple[Any, ...]:
    """Backbone, base, kind of adapter, shapes, threads, processes."""
    method, recipe = spec["method"], spec["recipe"]
    adapter = "lean" if method["adapter"] in ("lora", "adalora") else f"{method['adapter']} {method.get('peft')}"
    return (
        spec["backbone"]["name"], method["storage"], adapter, spec["task"]["kind"], spec["threads"],
        recipe.get("processes", 1), *(recipe[key] for key in SHAPE),
    )  # fmt: skip


def _task(spec: dict[str, Any]) -> tuple[Any, ...]:
    """Where the rows come from, and how many are evaluated."""
    task, data = spec["task"], spec["data"]
    return task["name"], data["source"], data["evaluation_rows"], json.dumps(task["generation"], sort_keys=True)
