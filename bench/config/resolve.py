"""From a study to its cells. Order of precedence: task recipe < study < method and budget < command line."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bench.config.catalog import WORKFLOW, Entry, Library, load_library, read_study
from bench.config.cell import Cell, DataChoice
from bench.config.module_roles import role_of
from bench.config.rank_schedule import faults_without_shapes
from bench.config.recipe import Recipe
from bench.config.study import Grid, Study
from bench.config.task import Task
from bench.config.yaml_source import KeyPath, Places, build, parse_yaml, place_of
from bench.errors import BenchError, Problem, SpecError, nearest


@dataclass(frozen=True)
class ResolvedStudy:
    """A study with every cell of it, all valid."""

    study: Study
    library: Library
    cells: tuple[Cell, ...]

    @property
    def name(self) -> str:
        return self.study.name

    def find(self, task: str, method: str, budget: str, seed: int) -> Cell:
        """The cell of these names. Raises BenchError with the nearest valid name."""
        found = self._by_names.get((task, method, budget, seed))
        if found is not None:
            return found
        wanted = {"task": task, "method": method, "budget": budget, "seed": str(seed)}
        left = list(self.cells)
        for key, value in wanted.items():
            have = {_coordinates(cell)[key] for cell in left}
            if value not in have:
                break
            left = [cell for cell in left if _coordinates(cell)[key] == value]
        raise BenchError(f"study {self.name!r} has no cell with {key} {value!r}{nearest(value, have)}")

    @cached_property
    def _by_names(self) -> dict[tuple[str, str, str, int], Cell]:
        """A pipeline asks for every cell many times."""
        return {(cell.task.name, cell.method.name, cell.budget_name, cell.seed): cell for cell in self.cells}


def load_study(name: str, overrides: Sequence[str] = (), folder: Path = WORKFLOW) -> ResolvedStudy:
    """The study `name` with `overrides` ('recipe.epochs=1', 'tasks=[rte]') laid over it. Raises BenchError."""
    library = load_library(folder)
    entry = read_study(library, name)
    if not overrides:
        return resolve(library, entry)
    try:
        return resolve(library, *_with_overrides(entry, overrides))
    except SpecError as error:  # what has no place in a file came from the command line
        raise SpecError(p if p.line else replace(p, file=Path("command line")) for p in error.problems) from error


def resolve(library: Library, entry: Entry[Study], given: Mapping[str, Any] = MappingProxyType({})) -> ResolvedStudy:
    """Every cell of a study; `given` is what of it the command line said. Raises SpecError with all problems found."""
    study = entry.item
    problems = [
        *_unknown(entry, ("tasks",), enumerate(study.tasks), library.tasks),
        *_unknown(entry, ("methods",), enumerate(study.methods), library.methods),
        *_unknown(entry, ("backbones",), study.backbones.items(), library.backbones),
        *_unknown(entry, ("overrides",), ((name, name) for name in study.overrides), library.tasks),
    ]
    for index, grid in enumerate(study.grids):
        problems += _unknown(entry, ("grids", index, "tasks"), enumerate(grid.tasks or []), library.tasks)
        problems += _unknown(entry, ("grids", index, "methods"), enumerate(grid.methods or []), library.methods)
        problems += _unknown(entry, ("grids", index, "budgets"), enumerate(grid.budgets or []), study.budgets)
    if problems:
        raise SpecError(problems)

    cells: dict[str, tuple[Cell, str]] = {}
    tasks: dict[str, Task] = {}
    for index, grid in enumerate(study.grids or [Grid()]):
        source = f"grids[{index}]" if study.grids else "the study's lists"
        names = grid.tasks or study.tasks
        for name in names:
            if name not in tasks:
                tasks[name] = _task(library, entry, name, _last_word(given, name))
        product = itertools.product(
            names, grid.methods or study.methods, grid.budgets or study.budgets, grid.seeds or study.seeds
        )
        for task, method, budget, seed in product:
            cell = _cell(library, entry, tasks[task], method, budget, seed, _last_word(given, task))
            problems += [p for p in [*_no_such_matrix(entry, cell), *_crowded(entry, cell)] if p not in problems]
            for path, fault in faults_without_shapes(cell, cell.declared_train_rows):
                line, column = _place_for(entry, cell, path)
                if not any(p.message.endswith(f": {fault}") and p.line == line for p in problems):
                    problems.append(Problem(entry.file, f"{cell.id}: {fault}", line, column))
            if cell.id in cells:
                line, column = place_of(entry.places, ("grids", index))
                first = cells[cell.id][1]
                problems.append(Problem(entry.file, f"cell {cell.id} stands twice: {first} and {source}", line, column))
            cells.setdefault(cell.id, (cell, source))
    if problems:
        raise SpecError(problems)
    return ResolvedStudy(study, library, tuple(cell for cell, _ in cells.values()))


def _task(library: Library, entry: Entry[Study], name: str, last: dict[str, Any]) -> Task:
    """The task's file with the study's overrides laid over it, and `last` over its recipe. A fault is reported where it
    stands."""
    base = library.tasks[name]
    own = entry.item.overrides.get(name, {})
    recipe = _merge(_merge(entry.item.recipe, own.get("recipe", {})), last)
    data = _merge(base.data, {**own, **({"recipe": recipe} if recipe else {})})
    if data.get("data", {}).get("evaluation") and "evaluation" in own.get("data", {}):
        data["data"]["evaluation"] = own["data"]["evaluation"]  # a list of splits is replaced, not merged
    places: Places = {}
    for path, place in entry.places.items():
        if path[:1] == ("recipe",):
            places[path] = place
    for path, place in entry.places.items():
        if path[:2] == ("overrides", name):
            places[path[2:]] = place
    places |= {("recipe", key): (0, 0) for key in last}
    where = entry.file if own or recipe else base.file
    task = build(Task, data, places or base.places, where)
    if task.kind not in entry.item.backbones:
        line, column = place_of(entry.places, ("backbones",))
        message = f"backbones: task {name!r} is of kind {task.kind!r}, which has no backbone here"
        raise SpecError([Problem(entry.file, message, line, column)])
    backbone = library.backbones[entry.item.backbones[task.kind]].item
    if task.kind not in backbone.kinds:
        line, column = place_of(entry.places, ("backbones", task.kind))
        message = f"backbone {backbone.name!r} serves {', '.join(backbone.kinds)}, not {task.kind}"
        raise SpecError([Problem(entry.file, message, line, column)])
    if entry.item.data == "embedded" and task.data.embedded is None:
        message = f"task {name!r} has no embedded rows (data.embedded): this study can't hold it"
        raise SpecError([Problem(entry.file, message, *place_of(entry.places, ("tasks",)))])
    return task


def _cell(
    library: Library,
    entry: Entry[Study],
    task: Task,
    method_name: str,
    budget_name: str,
    seed: int,
    last: dict[str, Any],
) -> Cell:
    study = entry.item
    method = library.methods[method_name]
    budget = study.budgets[budget_name]
    recipe = task.recipe
    changes = dict(method.item.recipe)
    if budget.alpha is not None:
        changes |= {"alpha": budget.alpha, "scale": None}
    if changes:
        changes = _merge(changes, last)
        places = {path[1:]: place for path, place in method.places.items() if path[:1] == ("recipe",)}
        recipe = build(Recipe, _merge(recipe.model_dump(), changes), places, method.file)
    return Cell(
        study=study.name,
        task=task,
        backbone=library.backbones[study.backbones[task.kind]].item,
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


def _last_word(given: Mapping[str, Any], task: str) -> dict[str, Any]:
    """What the command line says of the recipe of `task`: it counts whatever the study, a method or a budget say."""
    own = (given.get("overrides") or {}).get(task) or {}
    last = _merge(given.get("recipe") or {}, own.get("recipe") or {})
    return {"scale": None, **last} if "alpha" in last else last


def _place_for(entry: Entry[Study], cell: Cell, path: KeyPath) -> tuple[int, int]:
    """Where the study says what stands at `path` for the cell's task; its tasks where it leaves a recipe's key out."""
    if path[0] == "recipe":
        found = [p for p in (("overrides", cell.task.name, *path), path) if p in entry.places]
        path = found[0] if found else ("tasks",)
    return place_of(entry.places, path)


def _no_such_matrix(entry: Entry[Study], cell: Cell) -> list[Problem]:
    """A problem for each role of the method that no matrix of the backbone has."""
    have = {role_of(matrix) for matrix in cell.backbone.matrices}
    where = place_of(entry.places, ("methods",))
    return [
        Problem(entry.file, f"method {cell.method.name!r}: no matrix of {cell.backbone.name!r} is a {role}", *where)
        for role in cell.method.matrices or []
        if role not in have
    ]


def _crowded(entry: Entry[Study], cell: Cell) -> list[Problem]:
    """A problem where cells that take several processes are to share a job."""
    together, processes = entry.item.cells_per_job, cell.recipe.processes
    if together == 1 or processes == 1:
        return []
    message = f"cells_per_job is {together}, but a cell of {cell.task.name!r} takes {processes} processes: a job each"
    return [Problem(entry.file, message, *place_of(entry.places, ("cells_per_job",)))]


def _unknown(
    entry: Entry[Study], path: KeyPath, named: Iterable[tuple[str | int, str]], valid: Collection[str]
) -> list[Problem]:
    """A problem for each (key, name) below `path` whose name is not valid, at the place where it stands."""
    what = {"overrides": "task", "tasks": "task", "methods": "method", "budgets": "budget", "backbones": "backbone"}
    return [
        Problem(
            entry.file,
            f"unknown {what[str(path[-1])]} {name!r}{nearest(name, valid)}",
            *place_of(entry.places, (*path, key)),
        )
        for key, name in named
        if name not in valid
    ]


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` laid over `base`, mapping by mapping."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _with_overrides(entry: Entry[Study], overrides: Sequence[str]) -> tuple[Entry[Study], dict[str, Any]]:
    """The study with 'dotted.key=YAML value' laid over it, as given on the command line; and what was given."""
    data, places = entry.data, dict(entry.places)
    given: dict[str, Any] = {}
    for override in overrides:
        key, sign, value = override.partition("=")
        if not sign or not key.strip():
            raise BenchError(f"override {override!r}: expected key=value, such as recipe.epochs=1")
        parsed, _ = parse_yaml(f"value: {value}", Path("command line"))
        patch: Any = parsed["value"]
        path = key.strip().split(".")
        for part in reversed(path):
            patch = {part: patch}
        data, given = _merge(data, patch), _merge(given, patch)
        places = {k: v for k, v in places.items() if k[: len(path)] != tuple(path)}
        places |= {tuple(path[:end]): (0, 0) for end in range(len(path) + 1)}
    return Entry(build(Study, data, places, entry.file), data, places, entry.file), given


def _coordinates(cell: Cell) -> dict[str, str]:
    return {
        "task": cell.task.name,
        "method": cell.method.name,
        "budget": cell.budget_name,
        "seed": str(cell.seed),
    }
