"""The study as Snakemake sees it: cells, files, hashes. Read at every parse, so it imports neither torch nor pandas."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.config.catalog import WORKFLOW
from bench.config.cell import Cell
from bench.config.renamed import suggestion
from bench.config.resolve import ResolvedStudy, load_study
from bench.errors import BenchError, nearest
from bench.estimate.duration import forecaster
from bench.estimate.jobs import cores, gpus, memory_mb, minutes
from bench.inputs.cache_keys import backbone_folder, data_folder
from bench.paths import MANIFEST, RESULTS, CachePaths, StudyPaths, default_cache
from bench.pipeline.groups import Group, groups_of
from bench.trackers.available import check_tracker

KEYS = ("study", "mirror", "results", "cache", "workflow", "tasks", "methods", "budgets", "seeds", "set")
DEFAULT_STUDY = "demo"


@dataclass(frozen=True)
class Pipeline:
    """One study with its choices from `--config`. All paths are as given, relative to the working folder."""

    study: ResolvedStudy
    cells: tuple[Cell, ...]
    results: Path
    cache: Path
    mirror: Path | None
    workflow: Path
    overrides: tuple[str, ...]

    @property
    def tasks(self) -> list[str]:
        """Every task of the catalog, in the study or not: each has its rule."""
        return sorted(self.study.catalog.tasks)

    @property
    def threads(self) -> int:
        return self.study.study.threads

    @property
    def paths(self) -> StudyPaths:
        return StudyPaths(self.results, self.study.name)

    @property
    def cached(self) -> CachePaths:
        return CachePaths(self.cache)

    @property
    def records(self) -> list[str]:
        return [self.paths.cell(cell.id).record.as_posix() for cell in self.cells]

    @property
    def groups(self) -> list[Group]:
        """The study's cells, `cells_per_job` of one task together; none where every cell has a job of its own."""
        return groups_of(self.cells, self.study.study.cells_per_job)

    def records_of(self, group: Group) -> list[str]:
        return [self.paths.cell(cell.id).record.as_posix() for cell in group.cells]

    @property
    def data(self) -> dict[str, Cell]:
        """Name of each prepared data folder below <cache>/data: one cell that reads it."""
        return {self.data_folder(cell).name: cell for cell in reversed(self.cells)}

    @property
    def models(self) -> dict[str, Cell]:
        """Name of each prepared model's folder below <cache>/models: one cell that loads it."""
        return {self.model_folder(cell).name: cell for cell in reversed(self.cells)}

    @property
    def manifests(self) -> list[str]:
        """What must stand before a cell can start."""
        data = [self.cached.data_manifest(name) for name in self.data]
        models = [self.cached.model_manifest(name) for name in self.models]
        return [file.as_posix() for file in data + models]

    def data_folder(self, cell: Cell) -> Path:
        return data_folder(cell.task, cell.backbone, cell.data, self.mirror, self.cache)

    def model_folder(self, cell: Cell) -> Path:
        return backbone_folder(cell.backbone, self.mirror, self.cache)

    def inputs(self, task: str) -> dict[str, str]:
        """The manifests that every cell of `task` reads; none where the study doesn't hold the task."""
        cell = next((cell for cell in self.cells if cell.task.name == task), None)
        if cell is None:
            return {}
        return {
            "data": (self.data_folder(cell) / MANIFEST).as_posix(),
            "model": (self.model_folder(cell) / MANIFEST).as_posix(),
        }

    def model_of(self, data: str) -> str:
        """The manifest of the model whose tokenizer prepares the data folder called `data`."""
        return (self.model_folder(self.data[data]) / MANIFEST).as_posix()

    def cell(self, task: str, wildcards: Any) -> Cell:
        return self.study.find(task, wildcards.method, wildcards.budget, int(wildcards.seed))

    def spec_hash(self, task: str, wildcards: Any) -> str:
        return self.cell(task, wildcards).spec_hash

    def memory_mb(self, task: str, wildcards: Any, attempt: int) -> int:
        return memory_mb(self.cell(task, wildcards), self.study.study, attempt)

    def minutes(self, task: str, wildcards: Any, attempt: int) -> int:
        return minutes(self.cell(task, wildcards), self.study.study, attempt, forecaster(self.results))

    def group_memory_mb(self, group: Group, attempt: int) -> int:
        """Of the largest cell: they run one after another."""
        return max(memory_mb(cell, self.study.study, attempt) for cell in group.cells)

    def group_minutes(self, group: Group, attempt: int) -> int:
        known = forecaster(self.results)
        return sum(minutes(cell, self.study.study, attempt, known) for cell in group.cells)

    def group_gpus(self, group: Group) -> int:
        return max(gpus(cell, self.study.study) for cell in group.cells)

    def cores(self, task: str, wildcards: Any) -> int:
        return cores(self.cell(task, wildcards))

    def gpus(self, task: str, wildcards: Any) -> int:
        return gpus(self.cell(task, wildcards), self.study.study)

    def shell_prefix(self) -> str:
        """Bash that names the study and defines `bench` with the choices of `--config`.

        The rules stay the same text whatever is chosen, so that no choice alone makes a finished cell run again.
        """
        chosen = ["--results", str(self.results)] if self.results != RESULTS else []
        chosen += ["--cache", str(self.cache)] if self.cache != default_cache(self.results) else []
        chosen += ["--mirror", str(self.mirror)] if self.mirror else []
        chosen += ["--workflow", str(self.workflow)] if self.workflow != WORKFLOW else []
        chosen += [word for override in self.overrides for word in ("--set", override)]
        words = f'{shlex.quote(sys.executable)} -m bench.cli "$@" {shlex.join(chosen)}'.strip()
        text = f"STUDY={self.study.name}; bench() ( exec {words} );"
        return text.replace("{", "{{").replace("}", "}}")


def pipeline_of(config: Mapping[str, Any]) -> Pipeline:
    """The pipeline that `snakemake --config ...` asks for. Raises BenchError."""
    unknown = [key for key in config if key not in KEYS]
    if unknown:
        raise BenchError(f"--config: unknown key {unknown[0]!r}{nearest(unknown[0], KEYS)}")
    config = {key: value for key, value in config.items() if value is not None}  # `set=` says nothing
    overrides = _overrides(config.get("set", ""))
    workflow = Path(str(config.get("workflow", WORKFLOW)))
    name = str(config.get("study", DEFAULT_STUDY))
    study = load_study(name, overrides, workflow)
    added = _added(study, config)
    if "mirror" in config and study.study.data == "embedded":
        added += ("data=hub",)  # who names a mirror asks for real rows
    if added:
        overrides += added
        study = load_study(name, overrides, workflow)
    check_tracker(study.study)
    results = Path(str(config.get("results", RESULTS)))
    return Pipeline(
        study=study,
        cells=_narrowed(study, config),
        results=results,
        cache=Path(str(config.get("cache", default_cache(results)))),
        mirror=_mirror(study, config.get("mirror")),
        workflow=workflow,
        overrides=overrides,
    )


def _overrides(value: Any) -> tuple[str, ...]:
    """The overrides that `set=` gives, separated by semicolons. A mapping is refused, also one that YAML made of it."""
    if not isinstance(value, str):
        raise BenchError(
            f'--config set: expected dotted keys, such as set="recipe.epochs=1;threads=2", found {value!r}'
        )
    return tuple(part.strip() for part in value.split(";") if part.strip())


def _mirror(study: ResolvedStudy, folder: Any) -> Path | None:
    if folder is None:
        if study.study.data == "mirror":
            raise BenchError(
                f"study {study.name!r} reads a mirror folder: add mirror=DIR to --config (by hand: --mirror DIR)"
            )
        return None
    mirror = Path(str(folder)).expanduser()
    if not mirror.is_dir():
        raise BenchError(f"mirror={folder}: no such folder")
    return mirror


def _added(study: ResolvedStudy, config: Mapping[str, Any]) -> tuple[str, ...]:
    """Overrides that take what tasks= and methods= name, and the catalog holds, into a study without it."""
    catalog: dict[str, Mapping[str, Any]] = {"tasks": study.catalog.tasks, "methods": study.catalog.methods}
    added = []
    for key, entries in catalog.items():
        held: list[str] = getattr(study.study, key)
        new = [name for name in _names(config.get(key)) or [] if name in entries and name not in held]
        if new:
            added.append(f"{key}=[{', '.join([*held, *new])}]")
    return tuple(added)


def _narrowed(study: ResolvedStudy, config: Mapping[str, Any]) -> tuple[Cell, ...]:
    """The cells that tasks=, methods=, budgets= and seeds= leave; an unknown name is an error."""
    cells = study.cells
    coordinates: dict[str, Callable[[Cell], str]] = {
        "tasks": lambda cell: cell.task.name,
        "methods": lambda cell: cell.method.name,
        "budgets": lambda cell: cell.budget_name,
        "seeds": lambda cell: str(cell.seed),
    }
    for key, value_of in coordinates.items():
        wanted = _names(config.get(key))
        if wanted is None:
            continue
        have = {value_of(cell) for cell in study.cells}
        for name in wanted:
            if name not in have:
                raise BenchError(f"--config {key}: study {study.name!r} has no {name!r}{suggestion(name, have)}")
        cells = tuple(cell for cell in cells if value_of(cell) in wanted)
    return cells


def _names(value: Any) -> list[str] | None:
    """'a,b', [a, b] or a as a list of names; None: not narrowed."""
    if value is None:
        return None
    items = value if isinstance(value, list) else str(value).split(",")
    return [str(item).strip() for item in items]
