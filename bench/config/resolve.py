"""From a study to its cells. Precedence, weakest first: task, study, method and budget, tuned values, command line."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bench.config.catalog import Catalog, Entry, load_catalog, read_study
from bench.config.cell import Cell
from bench.config.donors import donor_of, donor_problems, names_of
from bench.config.overrides import COMMAND_LINE, apply_overrides, merge, recipe_overrides
from bench.config.recipe import Recipe
from bench.config.renamed import suggestion
from bench.config.resolve_cell import cell_problems, resolve_cell, with_choice
from bench.config.same_labels import same_labels
from bench.config.study import Grid, Study
from bench.config.task import Task
from bench.config.trials import draw_points, trials_of, tuning_problems, with_values
from bench.config.tuned_file import TunedFile, missing_values, taken_over
from bench.config.tuning import Values
from bench.config.unknown_names import unknown_names
from bench.config.yaml_source import Places, build, place_of
from bench.errors import BenchError, Problem, SpecError, nearest
from bench.paths import trial_id


@dataclass(frozen=True)
class ResolvedStudy:
    """A study with all its cells, which are valid."""

    study: Study
    catalog: Catalog
    cells: tuple[Cell, ...]
    # By `Cell.group`, where the study tunes. Until its choice is known, a cell has the values of the first point.
    trials: Mapping[str, tuple[Cell, ...]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.study.name

    @property
    def methods(self) -> list[str]:
        """The methods of the cells. A grid may name methods that the study's own list does not have."""
        return list(dict.fromkeys(cell.method.name for cell in self.cells))

    def find(self, task: str, method: str, budget: str, seed: int) -> Cell:
        """The cell with these names. Raises BenchError with the nearest valid name if there is none."""
        cell = self._by_names.get((task, method, budget, seed))
        if cell is not None:
            return cell
        wanted = {"task": task, "method": method, "budget": budget, "seed": str(seed)}
        candidates = list(self.cells)
        for key, value in wanted.items():
            valid = {_coordinates(cell)[key] for cell in candidates}
            if value not in valid:
                break
            candidates = [cell for cell in candidates if _coordinates(cell)[key] == value]
        raise BenchError(f"study {self.name!r} has no cell with {key} {value!r}{suggestion(value, valid)}")

    def find_trial(self, task: str, method: str, budget: str, point: str, seed: int) -> Cell:
        """The trial with these names. Raises BenchError if there is none."""
        name = trial_id(task, method, budget, point, seed)
        cell = self._trials_by_id.get(name)
        if cell is None:
            trials = self.trials.get(f"{task}/{method}/{budget}", ())
            raise BenchError(f"study {self.name!r} has no trial {name}{nearest(name, [trial.id for trial in trials])}")
        return cell

    def donor(self, cell: Cell) -> Cell | None:
        """The cell whose ranks `cell` takes over; None if it takes over none."""
        return donor_of(cell, self._by_names) if cell.trial is None else None

    def awaits_choice(self, cell: Cell) -> bool:
        """Whether `cell` is no trial and its recipe is not known yet: its trials decide it."""
        return cell.trial is None and cell.choice is None and bool(self.trials.get(cell.tuned_group))

    def awaits_ranks(self, cell: Cell) -> bool:
        """Whether `cell` takes over the ranks of another one, and they are not known yet."""
        return cell.given is None and self.donor(cell) is not None

    def awaits(self, cell: Cell) -> bool:
        """Whether the spec of `cell` is not complete yet: its trials decide its recipe, or another cell its ranks."""
        return self.awaits_choice(cell) or self.awaits_ranks(cell)

    @cached_property
    def _trials_by_id(self) -> dict[str, Cell]:
        return {trial.id: trial for trials in self.trials.values() for trial in trials}

    @cached_property
    def _by_names(self) -> dict[tuple[str, str, str, int], Cell]:
        """A pipeline asks for every cell many times."""
        return {names_of(cell): cell for cell in self.cells}


def load_study(
    name: str, overrides: Sequence[str] = (), folder: Path | None = None, memo: Path | None = None
) -> ResolvedStudy:
    """The study `name` with `overrides` ('recipe.epochs=1', 'tasks=[rte]') laid over it.

    `folder`: of the YAML files; None: see `bench.config.folders.workflow_folders`.
    `memo`: a folder that keeps the points of a tuning once they are drawn (`bench.config.points`).
    The fields of PEFT configs are not checked, because that imports PEFT: see `peft_fields.check_peft_methods`.
    Raises BenchError if a file or an override is invalid.
    """
    catalog = load_catalog(folder)
    entry = read_study(catalog, name)
    if not overrides:
        return resolve(catalog, entry, memo=memo)
    try:
        return resolve(catalog, *apply_overrides(entry, overrides), memo=memo)
    except SpecError as error:  # a problem without a line in a file came from the command line
        raise SpecError(p if p.line else replace(p, file=COMMAND_LINE) for p in error.problems) from error


def resolve(
    catalog: Catalog,
    entry: Entry[Study],
    given: Mapping[str, Any] = MappingProxyType({}),
    memo: Path | None = None,
) -> ResolvedStudy:
    """All cells and trials of a study; `given` is the part of it that comes from the command line.

    Raises SpecError with all problems, each once and not once per cell. What names a file that was refused is left out:
    that file has its own problems.
    """
    study = entry.item
    grids = study.grids or [Grid()]
    unknown = unknown_names(catalog, entry.data, entry.places, entry.file)
    # Many cells share one fault, so problems are kept by what is wrong and not by cell.
    problems: dict[Hashable, Problem] = {problem: problem for problem in (*unknown, *_without_effect(study, given))}
    cells: dict[str, Cell] = {}
    sources: dict[str, str] = {}
    tasks: dict[str, Task] = {}
    with_cells = {name for grid in grids for name in grid.tasks or study.tasks}
    # All cells of a task share it, so its overrides are validated once; so are those of a task without cells.
    for name in dict.fromkeys([*study.tasks, *sorted(with_cells), *study.overrides]):
        if name not in catalog.tasks:
            continue  # a problem of its own
        try:
            task = _resolve_task(catalog, entry, name, recipe_overrides(given, name))
            faults = list(_task_problems(catalog, entry, task)) if name in with_cells else []
        except SpecError as error:
            faults = error.problems
        if faults:
            problems |= {problem: problem for problem in faults}
        elif task.kind in study.backbones and study.backbones[task.kind] in catalog.backbones:
            tasks[name] = task
    points, tuned = _tuned_values(entry, [name for name in tasks if name in with_cells], memo, problems)
    trials: dict[str, tuple[Cell, ...]] = {}
    recipes: dict[Any, Recipe] = {}  # of the trials
    for index, grid in enumerate(grids):
        source = f"grids[{index}]" if study.grids else "the study's lists"
        product = itertools.product(
            grid.tasks or study.tasks,
            grid.methods or study.methods,
            grid.budgets or study.budgets,
            grid.seeds or study.seeds,
        )
        for name, method, budget, seed in product:
            if name not in tasks or method not in catalog.methods or budget not in study.budgets:
                continue  # a problem of its own
            try:
                cell = resolve_cell(catalog, entry, tasks[name], method, budget, seed, recipe_overrides(given, name))
                if tuned:
                    cell = with_choice(entry, cell, tuned, recipe_overrides(given, name))
                elif name in points:
                    if cell.group == cell.tuned_group and cell.group not in trials:
                        trials[cell.group] = tuple(trials_of(entry, cell, points[name], recipes))
                    cell = cell.model_copy(update={"recipe": with_values(cell.recipe, points[name][0], entry)})
            except SpecError as error:
                problems |= {problem: problem for problem in error.problems}
                continue
            for each in (cell, *(trials.get(cell.group, ()) if seed == (grid.seeds or study.seeds)[0] else ())):
                for fault, problem in cell_problems(entry, each):
                    problems.setdefault(fault, problem)
            if cell.id in cells:
                message = f"cell {cell.id} stands twice: {sources[cell.id]} and {source}"
                problem = Problem(entry.file, message, *place_of(entry.places, ("grids", index)))
                problems.setdefault(problem, problem)
            cells.setdefault(cell.id, cell)
            sources.setdefault(cell.id, source)
    if tuned:
        groups = dict.fromkeys(cell.tuned_group for cell in cells.values())
        problems |= {problem: problem for problem in missing_values(entry, tuned, groups)}
    problems |= {problem: problem for problem in tuning_problems(entry, given, [cell.seed for cell in cells.values()])}
    problems |= {problem: problem for problem in donor_problems(catalog, entry, list(cells.values()))}
    problems |= {problem: problem for problem in same_labels(cells.values(), entry.places, entry.file)}
    if problems:
        raise SpecError(problems.values())
    return ResolvedStudy(study, catalog, tuple(cells.values()), trials)


def _tuned_values(
    entry: Entry[Study], tasks: Sequence[str], memo: Path | None, problems: dict[Hashable, Problem]
) -> tuple[dict[str, tuple[Values, ...]], TunedFile | None]:
    """The points of each task, or the file of values that are taken over. What is wrong is added to `problems`."""
    try:
        return draw_points(entry, tasks, memo), taken_over(entry)
    except SpecError as error:
        problems |= {problem: problem for problem in error.problems}
        return {}, None


def _without_effect(study: Study, given: Mapping[str, Any]) -> Iterator[Problem]:
    """A problem for each list of the command line that no grid of the study takes over."""
    for key in ("tasks", "methods", "seeds"):
        if key in given and study.grids and all(getattr(grid, key) is not None for grid in study.grids):
            yield Problem(COMMAND_LINE, f"{key}: has no effect, since each grid names {key} of its own: set grids")


def _resolve_task(catalog: Catalog, entry: Entry[Study], name: str, last: dict[str, Any]) -> Task:
    """The task's file with the study's overrides laid over it, and `last` over its recipe.

    Raises SpecError with the place in the file that the faulty value comes from.
    """
    base = catalog.tasks[name]
    overrides = entry.item.overrides.get(name, {})
    recipe = merge(merge(entry.item.recipe, overrides.get("recipe", {})), last)
    data = merge(base.data, {**overrides, **({"recipe": recipe} if recipe else {})})
    if data.get("data", {}).get("evaluation") and "evaluation" in overrides.get("data", {}):
        # The evaluation splits are a list in spirit: a study replaces them all.
        data["data"]["evaluation"] = overrides["data"]["evaluation"]
    # Where each value comes from, for error messages: the study's recipe, its overrides of this task, the command line.
    places: Places = {path: place for path, place in entry.places.items() if path[:1] == ("recipe",)}
    places |= {path[2:]: place for path, place in entry.places.items() if path[:2] == ("overrides", name)}
    places |= {("recipe", key): (0, 0) for key in last}
    file = entry.file if overrides or recipe else base.file
    return build(Task, data, places or base.places, file, folder=base.file.parent)


def _task_problems(catalog: Catalog, entry: Entry[Study], task: Task) -> Iterator[Problem]:
    """What keeps the study from holding cells of `task`: no backbone that serves it, or no generated rows."""
    backbones = entry.item.backbones
    if task.kind not in backbones:
        message = f"backbones: task {task.name!r} is of kind {task.kind!r}, which has no backbone here"
        yield Problem(entry.file, message, *place_of(entry.places, ("backbones",)))
    elif backbones[task.kind] in catalog.backbones:
        backbone = catalog.backbones[backbones[task.kind]].item
        if task.kind not in backbone.kinds:
            message = f"backbone {backbone.name!r} serves {', '.join(backbone.kinds)}, not {task.kind}"
            yield Problem(entry.file, message, *place_of(entry.places, ("backbones", task.kind)))
    if entry.item.data == "embedded" and task.data.embedded is None and task.data.installed is None:
        message = f"task {task.name!r} has no embedded rows (data.embedded): this study can't hold it"
        yield Problem(entry.file, message, *place_of(entry.places, ("tasks",)))


def _coordinates(cell: Cell) -> dict[str, str]:
    return {
        "task": cell.task.name,
        "method": cell.method.name,
        "budget": cell.budget_name,
        "seed": str(cell.seed),
    }
