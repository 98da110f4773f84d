"""From a study to its cells. Precedence, weakest first: task, study, method and budget, command line."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bench.config.catalog import WORKFLOW, Catalog, Entry, load_catalog, read_study
from bench.config.cell import Cell, DataChoice
from bench.config.generation import position_fault
from bench.config.module_roles import role_of
from bench.config.overrides import COMMAND_LINE, apply_overrides, merge, recipe_overrides
from bench.config.rank_schedule import faults_without_shapes
from bench.config.recipe import Recipe
from bench.config.renamed import suggestion
from bench.config.study import Grid, Study
from bench.config.task import Task
from bench.config.yaml_source import KeyPath, Places, build, place_of
from bench.errors import BenchError, Problem, SpecError


@dataclass(frozen=True)
class ResolvedStudy:
    """A study with all its cells, which are valid."""

    study: Study
    catalog: Catalog
    cells: tuple[Cell, ...]

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

    @cached_property
    def _by_names(self) -> dict[tuple[str, str, str, int], Cell]:
        """A pipeline asks for every cell many times."""
        return {(cell.task.name, cell.method.name, cell.budget_name, cell.seed): cell for cell in self.cells}


def load_study(name: str, overrides: Sequence[str] = (), folder: Path = WORKFLOW) -> ResolvedStudy:
    """The study `name` of `folder` with `overrides` ('recipe.epochs=1', 'tasks=[rte]') laid over it.

    The fields of PEFT configs are not checked, because that imports PEFT: see `peft_fields.check_peft_methods`.
    Raises BenchError if a file or an override is invalid.
    """
    catalog = load_catalog(folder)
    entry = read_study(catalog, name)
    if not overrides:
        return resolve(catalog, entry)
    try:
        return resolve(catalog, *apply_overrides(entry, overrides))
    except SpecError as error:  # a problem without a line in a file came from the command line
        raise SpecError(p if p.line else replace(p, file=COMMAND_LINE) for p in error.problems) from error


def resolve(catalog: Catalog, entry: Entry[Study], given: Mapping[str, Any] = MappingProxyType({})) -> ResolvedStudy:
    """All cells of a study; `given` is the part of it that comes from the command line.

    Raises SpecError with all problems, each once and not once per cell.
    """
    unknown = _unknown_names(catalog, entry)
    if unknown:
        raise SpecError(unknown)
    study = entry.item
    # Many cells share one fault, so problems are kept by what is wrong and not by cell.
    problems: dict[Hashable, Problem] = {}
    cells: dict[str, Cell] = {}
    sources: dict[str, str] = {}
    tasks: dict[str, Task] = {}
    for index, grid in enumerate(study.grids or [Grid()]):
        source = f"grids[{index}]" if study.grids else "the study's lists"
        names = grid.tasks or study.tasks
        for name in names:
            # All cells of a task share it, so its overrides are validated once.
            if name not in tasks:
                tasks[name] = _resolve_task(catalog, entry, name, recipe_overrides(given, name))
        product = itertools.product(
            names, grid.methods or study.methods, grid.budgets or study.budgets, grid.seeds or study.seeds
        )
        for task, method, budget, seed in product:
            cell = _resolve_cell(catalog, entry, tasks[task], method, budget, seed, recipe_overrides(given, task))
            for fault, problem in _cell_problems(entry, cell):
                problems.setdefault(fault, problem)
            if cell.id in cells:
                message = f"cell {cell.id} stands twice: {sources[cell.id]} and {source}"
                problem = Problem(entry.file, message, *place_of(entry.places, ("grids", index)))
                problems.setdefault(problem, problem)
            cells.setdefault(cell.id, cell)
            sources.setdefault(cell.id, source)
    if problems:
        raise SpecError(problems.values())
    return ResolvedStudy(study, catalog, tuple(cells.values()))


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
    task = build(Task, data, places or base.places, file, folder=base.file.parent)
    _check_backbone(catalog, entry, task)
    if entry.item.data == "embedded" and task.data.embedded is None:
        message = f"task {name!r} has no embedded rows (data.embedded): this study can't hold it"
        raise SpecError([Problem(entry.file, message, *place_of(entry.places, ("tasks",)))])
    return task


def _check_backbone(catalog: Catalog, entry: Entry[Study], task: Task) -> None:
    """Raises SpecError if the study names no backbone for the task's kind, or one that does not serve it."""
    backbones = entry.item.backbones
    if task.kind not in backbones:
        message = f"backbones: task {task.name!r} is of kind {task.kind!r}, which has no backbone here"
        raise SpecError([Problem(entry.file, message, *place_of(entry.places, ("backbones",)))])
    backbone = catalog.backbones[backbones[task.kind]].item
    if task.kind not in backbone.kinds:
        message = f"backbone {backbone.name!r} serves {', '.join(backbone.kinds)}, not {task.kind}"
        raise SpecError([Problem(entry.file, message, *place_of(entry.places, ("backbones", task.kind)))])


def _resolve_cell(
    catalog: Catalog,
    entry: Entry[Study],
    task: Task,
    method_name: str,
    budget_name: str,
    seed: int,
    last: dict[str, Any],
) -> Cell:
    """The cell of these names; `last` is what the command line says about the recipe. Raises SpecError."""
    study = entry.item
    method = catalog.methods[method_name]
    budget = study.budgets[budget_name]
    recipe = task.recipe
    changes = dict(method.item.recipe)
    # `scale` would replace the budget's alpha, so it is cleared.
    if budget.alpha is not None:
        changes |= {"alpha": budget.alpha, "scale": None}
    if changes:
        # The command line was laid over the task's recipe already. Here it outranks the method and the budget, too.
        changes = merge(changes, last)
        places = {path[1:]: place for path, place in method.places.items() if path[:1] == ("recipe",)}
        recipe = build(Recipe, merge(recipe.model_dump(), changes), places, method.file)
    return Cell(
        study=study.name,
        task=task,
        backbone=catalog.backbones[study.backbones[task.kind]].item,
        method=method.item,
        budget_name=budget_name,
        budget=budget,
        seed=seed,
        recipe=recipe,
        data=DataChoice(
            source="embedded" if study.data == "embedded" else "hub",
            train_rows=study.limits.train_rows,
            evaluation_rows=study.limits.evaluation_rows,
        ),
        threads=study.threads,
        selection=study.selection,
    )


def _cell_problems(entry: Entry[Study], cell: Cell) -> Iterator[tuple[Hashable, Problem]]:
    """What makes a cell impossible although each file is valid, each with a key that is the same for all such cells."""
    available = {role_of(matrix) for matrix in cell.backbone.matrices}
    for role in cell.method.matrices or []:
        if role not in available:
            message = f"method {cell.method.name!r}: no matrix of {cell.backbone.name!r} is a {role}"
            problem = Problem(entry.file, message, *place_of(entry.places, ("methods",)))
            yield problem, problem
    together, processes = entry.item.cells_per_job, cell.recipe.processes
    if together > 1 and processes > 1:
        message = (
            f"cells_per_job is {together}, but a cell of {cell.task.name!r} takes {processes} processes: a job each"
        )
        problem = Problem(entry.file, message, *place_of(entry.places, ("cells_per_job",)))
        yield problem, problem
    fault_of_positions = position_fault(cell.task.generation, cell.backbone.config)
    if fault_of_positions:
        place = _place_for(entry, cell, ("generation", "max_length"))
        message = f"task {cell.task.name!r}: {fault_of_positions} of backbone {cell.backbone.name!r}"
        yield (place, message), Problem(entry.file, message, *place)
    for path, fault in faults_without_shapes(cell, cell.declared_train_rows):
        place = _place_for(entry, cell, path)
        yield (place, fault), Problem(entry.file, f"{cell.id}: {fault}", *place)


def _place_for(entry: Entry[Study], cell: Cell, path: KeyPath) -> tuple[int, int]:
    """Where the study sets `path` for the cell's task; its list of tasks if a key of the task is not in its file."""
    if path[0] in ("recipe", "generation"):
        candidates = [p for p in (("overrides", cell.task.name, *path), path) if p in entry.places]
        path = candidates[0] if candidates else ("tasks",)
    return place_of(entry.places, path)


def _unknown_names(catalog: Catalog, entry: Entry[Study]) -> list[Problem]:
    """A problem for each task, method, backbone and budget that the study names but that does not exist."""
    study = entry.item
    named: list[tuple[str, KeyPath, Iterable[tuple[str | int, str]], Collection[str]]] = [
        ("task", ("tasks",), enumerate(study.tasks), catalog.tasks),
        ("method", ("methods",), enumerate(study.methods), catalog.methods),
        ("backbone", ("backbones",), study.backbones.items(), catalog.backbones),
        ("task", ("overrides",), ((name, name) for name in study.overrides), catalog.tasks),
    ]
    for index, grid in enumerate(study.grids):
        named += [
            ("task", ("grids", index, "tasks"), enumerate(grid.tasks or []), catalog.tasks),
            ("method", ("grids", index, "methods"), enumerate(grid.methods or []), catalog.methods),
            ("budget", ("grids", index, "budgets"), enumerate(grid.budgets or []), study.budgets),
        ]
    return [
        Problem(entry.file, f"unknown {what} {name!r}{suggestion(name, valid)}", *place_of(entry.places, (*path, key)))
        for what, path, names, valid in named
        for key, name in names
        if name not in valid
    ]


def _coordinates(cell: Cell) -> dict[str, str]:
    return {
        "task": cell.task.name,
        "method": cell.method.name,
        "budget": cell.budget_name,
        "seed": str(cell.seed),
    }
