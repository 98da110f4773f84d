"""The study as Snakemake sees it: cells, files, hashes, and what each job asks for.

Every job of a study parses the Snakefile again, so this module imports neither torch nor pandas.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.config.cell import Cell
from bench.config.resolve import ResolvedStudy
from bench.estimate.duration import forecaster
from bench.estimate.jobs import cores, gpus, memory_mb, minutes
from bench.inputs.cache_keys import backbone_folder, data_folder
from bench.inputs.processors import allowed_processors
from bench.paths import MANIFEST, CachePaths, StudyPaths
from bench.pipeline.run_options import RunOptions


@dataclass(frozen=True)
class Group:
    """Cells of one task that one job trains, one after another. `name` is the name of the job's rule.

    No other rule begins with `group_`: a name like train_sst2_2 would be that of the rule of a task called sst2_2.
    """

    name: str
    task: str
    cells: tuple[Cell, ...]

    @property
    def cell_names(self) -> str:
        """'method/budget/seed' of each cell, as `bench group --cells` takes them."""
        return " ".join(f"{cell.method.name}/{cell.budget_name}/{cell.seed}" for cell in self.cells)


def groups_of(cells: Sequence[Cell], size: int) -> list[Group]:
    """`cells` in groups of `size`, all of one task. Empty if size is 1: then every cell has a job of its own."""
    if size == 1:
        return []
    groups = []
    for task in dict.fromkeys(cell.task.name for cell in cells):
        cells_of_task = [cell for cell in cells if cell.task.name == task]
        parts = [tuple(cells_of_task[start : start + size]) for start in range(0, len(cells_of_task), size)]
        groups += [Group(f"group_{task}_{number}", task, part) for number, part in enumerate(parts, start=1)]
    return groups


@dataclass(frozen=True)
class Pipeline:
    """One study, the cells of it that are wanted, and the options of the run."""

    study: ResolvedStudy
    cells: tuple[Cell, ...]
    options: RunOptions

    @classmethod
    def of(cls, options: RunOptions) -> Pipeline:
        """The pipeline of a whole study. Raises BenchError."""
        study = options.load_study(needs_rows=True)
        return cls(study, study.cells, options)

    def environment(self) -> dict[str, str]:
        """The environment variables of the rules' commands: the options, and a PATH on which `bench` is.

        The command stands beside the interpreter that runs Snakemake, whose environment need not be activated.
        """
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        return {**self.options.environment(), "PATH": path}

    @property
    def tasks(self) -> list[str]:
        """Every task of the catalog, in the study or not: each has its rule."""
        return sorted(self.study.catalog.tasks)

    @property
    def threads(self) -> int:
        return self.study.study.threads

    @property
    def paths(self) -> StudyPaths:
        return self.options.paths

    @property
    def cache(self) -> CachePaths:
        return CachePaths(self.options.cache_folder)

    # ---- files, as the strings that Snakemake's rules take

    @property
    def records(self) -> list[str]:
        return self._records_of(self.cells)

    def records_of(self, group: Group) -> list[str]:
        return self._records_of(group.cells)

    def _records_of(self, cells: Sequence[Cell]) -> list[str]:
        return [self.paths.cell(cell.id).record.as_posix() for cell in cells]

    @property
    def groups(self) -> list[Group]:
        """`cells_per_job` cells of one task together; empty where every cell has a job of its own."""
        return groups_of(self.cells, self.study.study.cells_per_job)

    @cached_property
    def data(self) -> dict[str, Cell]:
        """For the name of each prepared data folder in the cache, one cell that reads it."""
        return {self.data_folder(cell).name: cell for cell in reversed(self.cells)}

    @cached_property
    def models(self) -> dict[str, Cell]:
        """For the name of each prepared model's folder in the cache, one cell that loads it."""
        return {self.model_folder(cell).name: cell for cell in reversed(self.cells)}

    @property
    def manifests(self) -> list[str]:
        """Manifests of all that the cells read; a cell starts only once every one of them is there."""
        data = [self.cache.data_manifest(name) for name in self.data]
        models = [self.cache.model_manifest(name) for name in self.models]
        return [file.as_posix() for file in data + models]

    def data_folder(self, cell: Cell) -> Path:
        return data_folder(cell.task, cell.backbone, cell.data, self.options.mirror, self.options.cache_folder)

    def model_folder(self, cell: Cell) -> Path:
        return backbone_folder(cell.backbone, self.options.mirror, self.options.cache_folder)

    def inputs(self, task: str) -> dict[str, str]:
        """The manifests that every cell of `task` reads; empty if the study does not hold the task."""
        cell = next((cell for cell in self.cells if cell.task.name == task), None)
        if cell is None:
            return {}
        return {
            "data": (self.data_folder(cell) / MANIFEST).as_posix(),
            "model": (self.model_folder(cell) / MANIFEST).as_posix(),
        }

    def threads_to_prepare(self, data: str) -> int:
        """On how many processors the data folder called `data` is prepared; Snakemake lowers it to those that it has.

        Generated rows are few: two sets of them side by side are ready sooner than one after another.
        """
        return 1 if self.data[data].data.source == "embedded" else allowed_processors()

    def model_of(self, data: str) -> str:
        """The manifest of the model whose tokenizer prepares the data folder called `data`."""
        return (self.model_folder(self.data[data]) / MANIFEST).as_posix()

    # ---- params and resources of a cell's rule, from its wildcards

    def cell(self, task: str, wildcards: Any) -> Cell:
        return self.study.find(task, wildcards.method, wildcards.budget, int(wildcards.seed))

    def spec_hash(self, task: str, wildcards: Any) -> str:
        return self.cell(task, wildcards).spec_hash

    def memory_mb(self, task: str, wildcards: Any, attempt: int) -> int:
        return memory_mb(self.cell(task, wildcards), self.study.study, attempt)

    def minutes(self, task: str, wildcards: Any, attempt: int) -> int:
        return minutes(self.cell(task, wildcards), self.study.study, attempt, forecaster(self.options.results))

    def cores(self, task: str, wildcards: Any) -> int:
        return cores(self.cell(task, wildcards))

    def gpus(self, task: str, wildcards: Any) -> int:
        return gpus(self.cell(task, wildcards), self.study.study)

    # ---- resources of a group's rule. Its cells run one after another: memory and GPUs of the largest, minutes of all

    def group_memory_mb(self, group: Group, attempt: int) -> int:
        return max(memory_mb(cell, self.study.study, attempt) for cell in group.cells)

    def group_minutes(self, group: Group, attempt: int) -> int:
        times = forecaster(self.options.results)
        return sum(minutes(cell, self.study.study, attempt, times) for cell in group.cells)

    def group_gpus(self, group: Group) -> int:
        return max(gpus(cell, self.study.study) for cell in group.cells)
