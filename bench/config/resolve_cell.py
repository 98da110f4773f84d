"""One cell of a study: its recipe with everything laid over it, and what makes it impossible."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

from bench.config.catalog import Catalog, Entry
from bench.config.cell import Cell, DataChoice
from bench.config.generation import position_fault
from bench.config.module_roles import role_of
from bench.config.overrides import merge
from bench.config.rank_schedule import faults_without_shapes
from bench.config.recipe import Recipe
from bench.config.study import Study
from bench.config.task import Task
from bench.config.trials import with_values
from bench.config.tuned_file import TunedFile, choice_for
from bench.config.yaml_source import KeyPath, build, place_of
from bench.errors import Problem


def resolve_cell(
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


def with_choice(entry: Entry[Study], cell: Cell, tuned: TunedFile, last: dict[str, Any]) -> Cell:
    """`cell` with the values that it takes over; what the command line says outranks them. Raises SpecError.

    A cell whose group has no values stays as it is: `missing_values` names it.
    """
    choice = choice_for(entry, tuned, cell)
    if choice is None:
        return cell
    # A scale replaces an alpha, so a tuned one of these would outrank the other on the command line.
    given = {*last, *({"alpha", "scale"} if {"alpha", "scale"} & last.keys() else ())}
    values = {key: value for key, value in choice.values.items() if key not in given}
    recipe = with_values(cell.recipe, values, entry)
    return cell.model_copy(update={"recipe": recipe, "choice": choice.model_copy(update={"values": values})})


def cell_problems(entry: Entry[Study], cell: Cell) -> Iterator[tuple[Hashable, Problem]]:
    """What makes a cell impossible although each file is valid, each with a key that is the same for all such cells."""
    available = {role_of(matrix) for matrix in cell.backbone.matrices}
    for role in cell.method.matrices or []:
        if role not in available:
            message = f"method {cell.method.name!r}: no matrix of {cell.backbone.name!r} is a {role}"
            if role in ("query", "key", "value") and "query-key-value" in available:
                message += "; its queries, keys and values come from one matrix, which is adapted whole: name the role "
                message += "query-key-value"
            problem = Problem(entry.file, message, *place_of(entry.places, ("methods",)))
            yield problem, problem
    together, processes = entry.item.cells_per_job, cell.recipe.processes
    if together > 1 and processes > 1:
        message = (
            f"cells_per_job is {together}, but a cell of {cell.task.name!r} takes {processes} processes: a job each"
        )
        problem = Problem(entry.file, message, *place_of(entry.places, ("cells_per_job",)))
        yield problem, problem
    if entry.item.cells_per_gpu != 1 and (fault := _no_shared_gpu(entry.item, cell)):
        message = f"cells_per_gpu is {entry.item.cells_per_gpu}, but a cell of {cell.task.name!r} {fault}"
        problem = Problem(entry.file, message, *place_of(entry.places, ("cells_per_gpu",)))
        yield problem, problem
    fault_of_positions = position_fault(cell.task.generation, cell.backbone.config)
    if fault_of_positions:
        place = _place_for(entry, cell, ("generation", "max_length"))
        message = f"task {cell.task.name!r}: {fault_of_positions} of backbone {cell.backbone.name!r}"
        yield (place, message), Problem(entry.file, message, *place)
    for path, fault in faults_without_shapes(cell, cell.declared_train_rows):
        place = _place_for(entry, cell, path)
        yield (place, fault), Problem(entry.file, f"{cell.id}: {fault}", *place)


def _no_shared_gpu(study: Study, cell: Cell) -> str | None:
    """Why no GPU can be shared by cells like `cell`; None if one can."""
    if cell.recipe.processes > 1:
        return f"takes {cell.recipe.processes} processes: a GPU each"
    given = cell.task.resources.gpus
    if (study.resources.gpus if given is None else given) == 0:
        return "takes no GPU (resources.gpus is 0)"
    return None


def _place_for(entry: Entry[Study], cell: Cell, path: KeyPath) -> tuple[int, int]:
    """Where the study sets `path` for the cell's task; its list of tasks if a key of the task is not in its file."""
    if cell.trial is not None and path[0] == "recipe":
        tuned = ("tuning", "holdout_rows") if path[1] == "holdout_rows" else ("tuning", "space", path[1])
        if path[1] == "holdout_rows" or tuned in entry.places:
            return place_of(entry.places, tuned)
    if path[0] in ("recipe", "generation"):
        candidates = [p for p in (("overrides", cell.task.name, *path), path) if p in entry.places]
        path = candidates[0] if candidates else ("tasks",)
    return place_of(entry.places, path)
