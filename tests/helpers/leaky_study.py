"""A study as if it had been trained on a cluster, whose records tell of hosts, users, jobs, GPUs and folders."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.cli.app import main
from bench.config.cell import Cell
from bench.config.resolve import ResolvedStudy
from bench.records.io import read_record, write_record
from helpers.records import ENVIRONMENT, sets_of, study_of, write_cell

HOST, NODE, USER, PARTITION, JOB = "gauss-7f3a.uni-nowhere.example", "gauss-7f3a", "asmith7f3a", "gauss-queue", 7340921
GPU = "GPU-6f1c2a34-9b7e-4c11-8d5a-0123456789ab"
HOME = f"/home/{USER}"
SECRETS = (HOST, NODE, USER, PARTITION, str(JOB), GPU, GPU.removeprefix("GPU-"), HOME)
SETS = ("tasks=[cola]", "methods=[lora, adalora]")
DAY = "2026-11-20"
LOG = (
    f"2026-11-20 10:00:00,000 cola/adalora/large/seed-0 INFO: on {HOST} as {USER}",
    f'  File "{HOME}/my thesis/bench/training/loop.py", line 10, in run',
    f"OSError: {HOME}/my thesis/results/demo/cells/cola: disk full on {NODE}, see https://example.org/a/b",
)


@dataclass(frozen=True)
class LeakyStudy:
    study: ResolvedStudy
    results: Path

    def bundle(self, out: Path, *more: str, results: Path | None = None) -> int:
        """The exit code of `bench bundle`."""
        return main(["bundle", "demo", *self.sets, "--results", str(results or self.results), "--out", str(out), *more])

    @property
    def sets(self) -> list[str]:
        return sets_of(1, *SETS)

    def folder(self, cell: Cell) -> Path:
        return self.results / "demo" / "cells" / cell.id


def environment(**changes: Any) -> dict[str, Any]:
    slurm = {"job": str(JOB), "node": NODE, "partition": PARTITION, "gpus": GPU, "resources": "cpu=1,mem=4G"}
    return {
        **ENVIRONMENT,
        "rankbench": "0.2.0",
        "date": DAY,
        "machine": HOST,
        "gpu_uuid": GPU,
        "slurm": slurm,
        **changes,
    }


def leaky_study(results: Path) -> LeakyStudy:
    """The study whose results stand in the folder `results`, or will."""
    return LeakyStudy(study_of(1, *SETS), results)


def write_leaky_study(results: Path) -> LeakyStudy:
    """Two methods at two budgets, one of four cells failed, with something that passes for adapters."""
    leaky = leaky_study(results)
    folder = results / "demo"
    *scored, failed = leaky.study.cells
    for cell in scored:
        notes = (f"{results}/cache/models/x: no room on {NODE}",)
        write_cell(folder, cell, 0.8, rows=60, environment=environment(), notes=notes)
        add_files(folder / "cells" / cell.id)
    record = write_cell(folder, failed, 0, status="failed", environment=environment())
    write_record(record.model_copy(update={"message": LOG[-1], "log_tail": LOG}), leaky.folder(failed))
    return leaky


def add_files(folder: Path) -> None:
    """Put an adapter beside a record, and name all files beside it with their SHA-256, as a training does."""
    adapter = folder / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (adapter / "adapter_model.safetensors").write_bytes(hashlib.sha256(str(folder.name).encode()).digest() * 20)
    names = ("curve.jsonl", "predictions.parquet", "adapter/adapter_model.safetensors")
    files = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    write_record(read_record(folder / "record.json").model_copy(update={"files": files}), folder)
