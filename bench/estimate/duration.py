"""How long a cell will take, by the records of cells like it.

Where no such record exists the answer is None: a duration is never invented. Records of GPUs say nothing about a CPU,
nor the other way round; those of another class of GPU are scaled by the rates of both. Snakemake reads this module at
every parse, so it imports neither torch nor pandas, and it reads records as plain JSON.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any

from bench.config.cell import Cell
from bench.estimate.hardware import Hardware
from bench.records.found import all_records

# Keys of the recipe that change what an optimizer step or an evaluation costs. No record of another value counts.
COST_KEYS = (
    "batch_size",
    "accumulation",
    "max_length",
    "max_target_length",
    "evaluation_batch_size",
    "gradient_checkpointing",
)


@dataclass(frozen=True)
class TimedRecord:
    """The durations in one record, and what a cell must share with it for them to apply.

    setup: everything that changes the cost of a step, see `_setup`. task: where the rows come from, see `_task`.
    evaluated: which rows are evaluated, see `_evaluated`. startup, evaluation, saving, total: seconds. gpu: whether the
    device is a GPU; slurm: whether a Slurm job made it.
    """

    study: str
    cell: str
    spec_hash: str
    device: str
    setup: tuple[Any, ...]
    task: tuple[Any, ...]
    evaluated: tuple[Any, ...]
    method: str
    seconds_per_step: float
    startup: float
    evaluation: float
    saving: float
    total: float
    gpu: bool = False
    slurm: bool = False

    @property
    def storage(self) -> str:
        """How the base was stored: fp32, fp32_autocast, bf16 or nf4."""
        return str(self.setup[1])


@dataclass(frozen=True)
class Forecast:
    """The predicted seconds of one cell, the number of records they come from, and what these have in common with it:
    'task and method', 'task', or 'backbone and length'. `seconds_per_step` and `after` are parts of `seconds`: those of
    each optimizer step, and those of evaluation and saving. `device` made the records; where the cell will run, a step
    takes `slower` times as long."""

    seconds: float
    records: int
    by: str
    seconds_per_step: float
    after: float
    device: str
    slower: float = 1.0


class Forecaster:
    """Predicts durations on `hardware` from those of the `timed` records that apply to it; of all, where it is None.

    Of these, the records of one device count: of the same class of card if there are some, else of the device that most
    were made on.

    Example:
        >>> forecaster(Path("results")).forecast(cell, steps=1000)
        Forecast(seconds=312.4, records=3, by='task and method', seconds_per_step=0.29, after=16.2, device='NVIDIA L4')
    """

    def __init__(self, timed: Sequence[TimedRecord], hardware: Hardware | None = None) -> None:
        scaled = [(record, slower) for record in timed if (slower := _slower(record, hardware)) is not None]
        devices = Counter(record.device for record, _ in scaled)
        other = {record.device: hardware is not None and not hardware.is_like(record.device) for record, _ in scaled}
        # Ties go to the first name, so that the order of the files does not matter.
        self.device = min(devices, key=lambda name: (other[name], -devices[name], name)) if devices else None
        self.timed = [(record, slower) for record, slower in scaled if record.device == self.device]
        self._taken = {(record.study, record.cell, record.spec_hash): record.total for record in timed}

    def forecast(self, cell: Cell, steps: float | None) -> Forecast | None:
        """The duration of `cell` with that many optimizer steps; None where `steps` or records are missing.

        Only the nearest records count: of the same task and method, else of the same task with another method, else of
        another task. Only the number of steps is scaled. A trial takes a step as a final cell does, and evaluates other
        rows: the seconds of its evaluation are those of records that evaluated as many, where there are some.
        """
        if steps is None:
            return None
        spec = cell.model_dump(mode="json")
        setup, task, evaluated = _setup(spec), _task(spec), _evaluated(spec)
        comparable = [_scaled(record, slower) for record, slower in self.timed if record.setup == setup]
        same_task = [record for record in comparable if record.task == task]
        same_method = [record for record in same_task if record.method == cell.method.name]
        nearest_first = (
            ("task and method", same_method),
            ("task", same_task),
            ("backbone and length", comparable),
        )
        for by, records in nearest_first:
            if records:
                per_step = median(record.seconds_per_step for record in records)
                startup = median(record.startup for record in records)
                saving = median(record.saving for record in records)
                alike = [record for record in records if record.evaluated == evaluated]
                alike = alike or [record for record in same_task if record.evaluated == evaluated] or records
                evaluation = median(record.evaluation for record in alike)
                after = evaluation + saving
                slower = next(factor for record, factor in self.timed if record.setup == setup)
                seconds = startup + steps * per_step + after
                return Forecast(seconds, len(records), by, per_step, after, str(self.device), slower)
        return None

    def taken(self, cell: Cell) -> float | None:
        """Seconds that `cell` took, on whichever device, if its own study has a record of it."""
        return self._taken.get((cell.study, cell.id, cell.spec_hash))


@lru_cache(maxsize=8)
def forecaster(results: Path, hardware: Hardware | None = None) -> Forecaster:
    """The forecaster of all records below `results`. Files that can't be read, and cells that failed, are ignored."""
    timed = (_timed(file) for file in all_records(results))
    return Forecaster([record for record in timed if record is not None], hardware)


def _slower(record: TimedRecord, hardware: Hardware | None) -> float | None:
    """How many times as long a step of `record` takes on `hardware`; None if the record says nothing about it.

    Where Slurm starts the jobs and nobody said on which model of GPU, only records of its jobs apply: others come from
    another machine, such as a laptop.
    """
    if hardware is None:
        return 1.0
    if record.gpu != hardware.gpu:
        return None
    if hardware.model is None:
        return 1.0 if record.slurm or not hardware.slurm else None
    return hardware.slower_than(record.device, record.storage)


def _scaled(record: TimedRecord, slower: float) -> TimedRecord:
    """`record` with steps and an evaluation that take `slower` times as long."""
    return replace(record, seconds_per_step=slower * record.seconds_per_step, evaluation=slower * record.evaluation)


def _timed(file: Path) -> TimedRecord | None:
    """The durations in one record; None if the file is damaged, or the training didn't finish."""
    try:
        return timed_record(json.loads(file.read_bytes()))
    except (OSError, ValueError, RecursionError):
        return None


def timed_record(record: Any) -> TimedRecord | None:
    """The durations in a record, given as JSON data; None if it is damaged, or the training didn't finish."""
    try:
        training, spec = record["training"], record["spec"]
        seconds = training["seconds"]
        if record["status"] != "ok" or not training["steps"]:
            return None
        if len(training.get("devices", ())) > 1:  # a mixture of several GPUs
            return None
        if training.get("cells_per_gpu", 1) > 1:  # times of a GPU that other cells may have used too
            return None
        return TimedRecord(
            study=record["cell"]["study"],
            cell=record["cell"]["id"],
            spec_hash=record["cell"]["spec_hash"],
            device=str(record["environment"].get("device_name")),
            setup=_setup(spec),
            task=_task(spec),
            evaluated=_evaluated(spec),
            method=spec["method"]["name"],
            seconds_per_step=seconds["training"] / training["steps"],
            startup=seconds["startup"],
            evaluation=seconds["evaluation"],
            saving=seconds["saving"],
            total=seconds["total"],
            gpu=str(record["environment"].get("device")).startswith("cuda"),
            slurm=bool(record["environment"].get("slurm")),
        )
    except (KeyError, TypeError, AttributeError, RecursionError):
        return None


def _setup(spec: dict[str, Any]) -> tuple[Any, ...]:
    """Backbone, storage of the base, kind of adapter, shapes, threads, processes and optimizer of a cell's spec."""
    method, recipe = spec["method"], spec["recipe"]
    # LoRA and AdaLoRA share one layer, so a step costs the same with both.
    adapter = "lean" if method["adapter"] in ("lora", "adalora") else f"{method['adapter']} {method.get('peft')}"
    return (
        spec["backbone"]["name"],
        method["storage"],
        adapter,
        spec["task"]["kind"],
        spec["threads"],
        recipe.get("processes", 1),
        recipe.get("optimizer", "adamw"),
        *(recipe[key] for key in COST_KEYS),
    )


def _task(spec: dict[str, Any]) -> tuple[Any, ...]:
    """Where the rows of a cell's spec come from, and how texts are generated for it."""
    task, data = spec["task"], spec["data"]
    return task["name"], data["source"], json.dumps(task["generation"], sort_keys=True)


def _evaluated(spec: dict[str, Any]) -> tuple[Any, ...]:
    """Which rows are evaluated at the end: of a trial those that it holds out, else those of the evaluation splits."""
    if spec.get("trial") is not None:
        return "held-out", spec["recipe"]["holdout_rows"]
    return "splits", spec["data"]["evaluation_rows"]
