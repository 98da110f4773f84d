"""The study as Snakemake sees it: cells, files, hashes, and what each job asks for.

Every job of a study parses the Snakefile again, so this module imports neither torch nor pandas.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from bench.config.cell import Cell
from bench.config.resolve import ResolvedStudy
from bench.config.trials import direction
from bench.estimate.duration import forecaster
from bench.estimate.hardware import UNKNOWN_GPU, Hardware
from bench.estimate.jobs import cores, gpus, hardware_for, memory_mb, minutes, one_after_another
from bench.estimate.sharing import cells_in_job
from bench.estimate.tuning_cost import possible_cells
from bench.files import digest_json
from bench.inputs.cache_keys import backbone_folder, data_folder
from bench.inputs.processors import allowed_processors
from bench.paths import MANIFEST, CachePaths, StudyPaths
from bench.pipeline.groups import Group, groups_of
from bench.pipeline.run_options import RunOptions


@dataclass(frozen=True, repr=False)  # Snakemake writes out functions that it is given, and so what they are bound to
class Pipeline:
    """One study, the cells of it that are wanted, the options of the run, and what the jobs run on."""

    study: ResolvedStudy
    cells: tuple[Cell, ...]
    options: RunOptions
    hardware: Hardware = UNKNOWN_GPU

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
    def rungs(self) -> int:
        """At how many rungs successive halving compares trials; 0 without it."""
        return len(self.study.study.tuning.rungs) if self.study.study.tuning else 0

    @cached_property
    def trials(self) -> tuple[Cell, ...]:
        """The trials of the cells that are wanted; empty if the study does not tune."""
        wanted = dict.fromkeys(cell.tuned_group for cell in self.cells)
        return tuple(chain.from_iterable(self.study.trials.get(group, ()) for group in wanted))

    @property
    def paths(self) -> StudyPaths:
        return self.options.paths

    @property
    def cache(self) -> CachePaths:
        return CachePaths(self.options.cache_folder)

    # ---- files, as the strings that Snakemake's rules take

    @property
    def records(self) -> list[str]:
        return self.records_of(self.cells)

    @property
    def trial_records(self) -> list[str]:
        return self.records_of(self.trials)

    @property
    def tuned(self) -> list[str]:
        """The file of the chosen points; empty if the study does not tune."""
        return [self.paths.tuned.as_posix()] if self.trials else []

    def records_of(self, cells: Sequence[Cell]) -> list[str]:
        return [self.paths.cell(cell.id).record.as_posix() for cell in cells]

    def rungs_of(self, cells: Sequence[Cell], rung: int | str) -> list[str]:
        """What each of these trials leaves at that rung, counted from 1."""
        return [self.paths.cell(cell.id).rung(rung).as_posix() for cell in cells]

    @property
    def groups(self) -> list[Group]:
        """`cells_per_job` cells of one task together; empty where every cell has a job of its own."""
        return groups_of(self.study, self.cells)

    @property
    def trial_groups(self) -> list[Group]:
        """`cells_per_job` trials of one task, method and budget together."""
        return groups_of(self.study, self.trials)

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

    @property
    def is_prepared(self) -> bool:
        """Whether every manifest is there, and the marker that says that they are valid."""
        return all(file.is_file() for file in (*map(Path, self.manifests), self.paths.prepared))

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

    # ---- what is waited for where a study tunes, or takes over ranks. No rule of another study has such an input

    def waits(self, task: str) -> dict[str, Any]:
        """What a final cell of `task` waits for beside its inputs, from its wildcards.

        These are the trials of its group, and the record of the cell whose ranks it takes over.
        """
        waits: dict[str, Any] = {}
        if self.trials:
            waits["trials"] = lambda wildcards: self._gathered(self.cell(task, wildcards))
        if self._takes_over_ranks:
            waits["ranks"] = lambda wildcards: self._donors([self.cell(task, wildcards)])
        return waits

    def group_waits(self, group: Group) -> dict[str, Any]:
        """The same for final cells that share a job."""
        waits = {"trials": self._gathered(group.cells[0])} if self.trials else {}
        return {**waits, "ranks": donors} if (donors := self._donors(group.cells)) else waits

    def rivals(self, task: str, wildcards: Any) -> list[str]:
        """What a trial waits for, or the rung of it that the wildcards name: all rivals at the rung before."""
        return self._gathered_before(self.cell(task, wildcards), wildcards)

    def group_rivals(self, group: Group, wildcards: Any) -> list[str]:
        """The same for trials that share a job."""
        return self._gathered_before(group.cells[0], wildcards)

    def gathered(self, task: str, wildcards: Any) -> list[str]:
        """What all trials of the group that the wildcards name leave, as records or at a rung."""
        trials = self.study.trials[f"{task}/{wildcards.method}/{wildcards.budget}"]
        return self.rungs_of(trials, wildcards.rung) if hasattr(wildcards, "rung") else self.records_of(trials)

    @property
    def all_gathered(self) -> list[str]:
        """The markers of all groups of trials that are wanted."""
        return [self.paths.gathered(group).as_posix() for group in dict.fromkeys(trial.group for trial in self.trials)]

    def _gathered(self, cell: Cell) -> list[str]:
        return [self.paths.gathered(cell.tuned_group).as_posix()]

    @cached_property
    def _takes_over_ranks(self) -> bool:
        return any(self.study.donor(cell) is not None for cell in self.cells)

    def _donors(self, cells: Sequence[Cell]) -> list[str]:
        """The records of the cells whose ranks `cells` take over."""
        donors = [donor for cell in cells if (donor := self.study.donor(cell)) is not None]
        return self.records_of(list({donor.id: donor for donor in donors}.values()))

    def _gathered_before(self, trial: Cell, wildcards: Any) -> list[str]:
        rung = int(wildcards.rung) - 1 if hasattr(wildcards, "rung") else self.rungs
        return [self.paths.gathered(trial.group, rung).as_posix()] if rung else []

    # ---- params and resources of the rules of cells and trials, from their wildcards

    def cell(self, task: str, wildcards: Any) -> Cell:
        """The cell or, where the wildcards name a point, the trial."""
        names = (task, wildcards.method, wildcards.budget)
        if hasattr(wildcards, "point"):
            return self.study.find_trial(*names, wildcards.point, int(wildcards.seed))
        return self.study.find(*names, int(wildcards.seed))

    def spec(self, task: str, wildcards: Any) -> str:
        return self.spec_of(self.cell(task, wildcards))

    def spec_of(self, cell: Cell) -> str:
        """What decides the result of `cell`, as a hash that never changes while the study runs.

        That of a final cell covers all that its choice can come from: the choice itself is known only after the trials.
        """
        parts = {"cell": cell.spec_hash}
        if self.study.awaits_choice(cell):
            parts["trials"] = self._specs_of_trials[cell.tuned_group]
        if self.study.awaits_ranks(cell) and (donor := self.study.donor(cell)) is not None:
            parts["ranks"] = self.spec_of(donor)
        return cell.spec_hash if len(parts) == 1 else digest_json(parts)

    @property
    def spec_of_tuned(self) -> str:
        """What decides the chosen points of the wanted groups, as a hash."""
        wanted = dict.fromkeys(cell.tuned_group for cell in self.cells)
        return digest_json({group: self._specs_of_trials[group] for group in wanted if group in self.study.trials})

    @cached_property
    def _specs_of_trials(self) -> dict[str, str]:
        """By `Cell.group`: a hash of the trials and of the rule by which one of their points is chosen."""
        tuning = self.study.study.tuning
        rule: dict[str, Any] = {"by": tuning and tuning.choose_by}
        if tuning is not None and tuning.choose != "best":  # a rule that came later: what others have decided stays
            rule["choose"] = tuning.choose
        return {
            group: digest_json(
                {**rule, **direction(rule["by"], trials[0].task), "trials": [trial.spec_hash for trial in trials]}
            )
            for group, trials in self.study.trials.items()
        }

    def memory_mb(self, task: str, wildcards: Any, attempt: int) -> int:
        return self._memory_mb(self.cell(task, wildcards), attempt)

    def minutes(self, task: str, wildcards: Any, attempt: int) -> int:
        return self._minutes(self.cell(task, wildcards), attempt)

    def cores(self, task: str, wildcards: Any) -> int:
        return cores(self.cell(task, wildcards))

    def gpus(self, task: str, wildcards: Any) -> int:
        return gpus(self.cell(task, wildcards), self.study.study)

    # ---- resources of a group's rule, for as many of the largest cells as run at the same time. On a shared GPU all
    # cells together take no longer than one after another: the minutes are those of all

    def group_cores(self, group: Group) -> int:
        return self._at_once(group) * max(cores(cell) for cell in group.cells)

    def group_memory_mb(self, group: Group, attempt: int) -> int:
        return self._at_once(group) * max(self._memory_mb(cell, attempt) for cell in group.cells)

    def group_minutes(self, group: Group, attempt: int) -> int:
        return one_after_another([self._minutes(cell, attempt) for cell in group.cells])

    def group_gpus(self, group: Group) -> int:
        return max(gpus(cell, self.study.study) for cell in group.cells)

    def _at_once(self, group: Group) -> int:
        return cells_in_job(self.study, group.cells, self.hardware, self.options.peaks_file)

    def _memory_mb(self, cell: Cell, attempt: int) -> int:
        return max(memory_mb(each, self.study.study, attempt) for each in possible_cells(self.study, cell))

    def _minutes(self, cell: Cell, attempt: int) -> int:
        hardware = hardware_for(cell, self.study.study, self.hardware)
        times = forecaster(self.options.results, hardware)
        possible = possible_cells(self.study, cell)
        return max(minutes(each, self.study.study, attempt, times, hardware) for each in possible)
