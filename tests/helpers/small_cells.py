"""Real cells with two-layer models and generated rows, trained in processes that can be killed at a chosen moment.

The processes are forked from a server that has imported torch once, so a training takes about a second.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.config.answers import Answers
from bench.config.backbone import Backbone
from bench.config.budget import Budget
from bench.config.catalog import WORKFLOW, load_catalog
from bench.config.cell import Cell, DataChoice
from bench.config.recipe import RankPhases, Recipe
from bench.distributed import init_process_group
from bench.errors import BenchError
from bench.inputs.backbones import prepare_backbone
from bench.inputs.datasets import prepare_task
from bench.inputs.formats.rows import Rows
from bench.inputs.sources import read_source
from bench.records.io import read_record
from bench.records.schema import Record, result_of
from bench.training.checkpoints import Interval
from helpers.lab_models import MODELS
from helpers.rows import all_rows
from helpers.small_models import save_small_model

METHODS = ("lora", "adalora", "qlora", "qlora_adalora")
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["bench.training.run", "transformers", "peft", "bitsandbytes", "sklearn.metrics"])


@dataclass(frozen=True)
class Moment:
    """When a training is disturbed: it gets a real signal when it reaches `place` for the `count`-th time."""

    place: str  # step, micro-batch, evaluation, fsync, rename, record
    count: int
    signal: int = signal.SIGTERM


@dataclass(frozen=True)
class Lab:
    """Where the trainings of a test happen: a small model and a cache for what is prepared from it."""

    cache: Path
    model: Path
    kind: str

    def cell(self, method: str = "adalora", *, seed: int = 0, rank: int = 2, rows: int = 48, **recipe: Any) -> Cell:
        """A cell of `STEPS` optimizer steps by default: three epochs of four."""
        catalog = load_catalog(WORKFLOW)
        made = MODELS[self.kind]
        task = catalog.tasks[made.task].item
        values = {
            "learning_rate": 5e-3,
            "epochs": 3,
            "batch_size": 12,
            "max_length": 24,
            "max_target_length": 8,
            "evaluation_batch_size": 8,
            "warmup_steps": 2,
            **made.recipe,
            "rank_schedule": RankPhases(initial_steps=3, final_steps=4, interval=2),
            **recipe,
        }
        chosen = Recipe(**values)
        changes: dict[str, Any] = {"recipe": chosen}
        if task.generation is not None:
            changes["generation"] = task.generation.model_copy(update={"beams": 2, "max_length": 8})
        if self.kind == "question-answering":  # contexts of two windows
            changes["answers"] = Answers(stride=8)
        task = task.model_copy(update=changes)
        backbone = Backbone(
            name="small",
            path=str(self.model),
            kinds=[task.kind],
            head=list(made.head),
            matrices=list(made.matrices),
        )
        return Cell(
            study="test",
            task=task,
            backbone=backbone,
            method=catalog.methods[method].item,
            budget_name="b",
            budget=Budget(rank=rank),
            seed=seed,
            recipe=chosen,
            data=DataChoice(source="embedded", train_rows=rows, evaluation_rows=16),
        )

    def prepare(self, cell: Cell) -> Cell:
        """Prepare model and rows of the cell, and return the cell."""
        prepare_backbone(cell.backbone, mirror=None, cache=self.cache)
        prepare_task(cell.task, cell.backbone, cell.data, mirror=None, cache=self.cache)
        return cell

    def rows(self, cell: Cell) -> Rows:
        """The rows that the cell is scored on, as they are in their source."""
        split = read_source(cell.task, cell.data, None).splits[cell.task.primary_split]
        return all_rows(split)

    def train(
        self,
        cell: Cell,
        out: Path,
        moment: Moment | None = None,
        *,
        every: int | None = 1,
        attempt: int = 1,
        attempts: int = 1,
        before: Callable[[], None] | None = None,
        rung: int | None = None,
    ) -> int:
        """Train in a new process; returns its exit code, or minus the number of the signal that ended it.

        A checkpoint is saved every `every` steps (None: as a real cell does). `before` runs in the process before the
        training. The log is printed, for the report of a test that fails.
        """
        options: dict[str, Any] = {"moment": moment, "every": every, "attempt": attempt, "attempts": attempts}
        options |= {"before": before, "rung": rung}
        return self._ended([SERVER.Process(target=train_in_child, args=(cell, out, self.cache), kwargs=options)], out)[
            0
        ]

    def train_together(
        self,
        cell: Cell,
        out: Path,
        moment: Moment | None = None,
        *,
        struck: int = 1,
        every: int | None = 1,
        attempts: int = 1,
        before: Callable[[], None] | None = None,
    ) -> list[int]:
        """Train a cell in its processes; returns their exit codes. `moment` and `before` apply to rank `struck`."""
        members = []
        for rank, variables in enumerate(torchrun_variables(cell.recipe.processes)):
            options = {"every": every, "attempts": attempts, "variables": variables}
            if rank == struck:
                options |= {"moment": moment, "before": before}
            members.append(SERVER.Process(target=train_in_child, args=(cell, out, self.cache), kwargs=options))
        return self._ended(members, out)

    def _ended(self, processes: list[Any], out: Path) -> list[int]:
        for process in processes:
            process.start()
        for process in processes:
            process.join(timeout=120)
        codes = [process.exitcode for process in processes]
        log = out.parent / "log.txt"
        print(f"exit codes {codes}:", log.read_text()[-6000:] if log.exists() else "nothing was said")
        for process in processes:
            process.kill()
        assert None not in codes, "the training hangs"
        return codes

    def checkpoints(self) -> Path:
        """The only folder of checkpoints."""
        (folder,) = (self.cache / "checkpoints").iterdir()
        return folder


def torchrun_variables(world_size: int) -> list[dict[str, str]]:
    """The environment that torchrun gives to each of so many processes of one machine."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    shared = {"WORLD_SIZE": str(world_size), "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    return [{"RANK": str(rank), "LOCAL_RANK": str(rank), **shared} for rank in range(world_size)]


def make_lab(folder: Path, kind: str = "classification") -> Lab:
    """A lab below `folder` with a two-layer model of its own."""
    save_small_model(folder / "model", kind)
    return Lab(folder / "cache", folder / "model", kind)


def without_dropout(lab: Lab, model: Path) -> Lab:
    """`lab` with a copy of its model without dropout, in the new folder `model`."""
    model.mkdir()
    for file in lab.model.iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    config = json.loads((model / "config.json").read_text())
    for key in config:
        if "dropout" in key and config[key]:
            config[key] = 0.0
    (model / "config.json").write_text(json.dumps(config))
    return replace(lab, model=model)


def outcome(out: Path) -> dict[str, Any]:
    """What two runs of a cell must share bit for bit: the record without times, and the hashes of its files."""
    hashes = {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name != "record.json"
    }
    return {"record": result_of(record_of(out)), "files": hashes}


def record_of(out: Path) -> Record:
    """The record in the folder `out`."""
    return read_record(out / "record.json")


def train_in_child(
    cell: Cell,
    out: Path,
    cache: Path,
    *,
    every: int | None,
    attempts: int,
    attempt: int = 1,
    moment: Moment | None = None,
    before: Callable[[], None] | None = None,
    variables: Mapping[str, str] | None = None,
    rung: int | None = None,
) -> None:
    from bench.training.run import train_cell

    out.parent.mkdir(parents=True, exist_ok=True)
    log = os.open(out.parent / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if moment is not None:
        _arm(moment)
    if before is not None:
        before()
    try:
        os.environ.update(variables or {})
        places = {"out": out, "cache": cache}
        tries = {"attempt": attempt, "attempts": attempts, "rung": rung}
        train_cell(cell, **places, **tries, interval=Interval(steps=every), process_group=init_process_group())
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        os._exit(error.exit_code)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _arm(moment: Moment) -> None:
    """Send this process the signal when it reaches the place for the count-th time."""
    import bench.files
    import bench.records.io
    import bench.training.run
    from bench.engine.step import Core
    from bench.evaluation import evaluate
    from bench.training.curve import Curve

    owner, name = {
        "step": (Curve, "add"),
        "micro-batch": (Core, "accumulate"),
        "evaluation": (evaluate, "_predict_batch"),
        "fsync": (os, "fsync"),
        "rename": (Path, "rename"),
        "record": (bench.training.run, "write_record"),
    }[moment.place]
    original, left = getattr(owner, name), [moment.count]

    def passing(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), moment.signal)
        return original(*args, **kwargs)

    setattr(owner, name, passing)


def run_out_of_memory() -> None:
    """The third micro-batch needs more than the system gives to anybody."""
    import torch

    from bench.engine.step import Core

    original, steps = Core.accumulate, [0]

    def accumulate(*args: Any, **kwargs: Any) -> None:
        steps[0] += 1
        if steps[0] == 3:
            torch.empty(2**60, dtype=torch.uint8)
        original(*args, **kwargs)

    Core.accumulate = accumulate  # type: ignore[method-assign]
