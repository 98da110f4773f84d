"""Whether the cells of a study fit their backbones, by the configs in the backbones' files: before any download."""

from __future__ import annotations

from functools import lru_cache

from bench.config.backbone import Backbone
from bench.config.catalog import Catalog, Entry
from bench.config.cell import Cell
from bench.config.recipe import Recipe
from bench.config.resolve import ResolvedStudy
from bench.config.study import Study
from bench.config.task import Task
from bench.config.yaml_source import KeyPath, place_of
from bench.errors import BenchError, Problem
from bench.estimate.parameters import meta_model
from bench.inputs.model_classes import head_outputs
from bench.inputs.model_fit import faults
from bench.inputs.unbuildable import build_fault, misspelled_field
from bench.models.backbone import named_faults

OF_BACKBONE = "backbone"  # how the path of a key of the backbone's file begins


def check_fit(study: ResolvedStudy) -> None:
    """Raises BenchError with the first cell of `study` that its backbone does not fit."""
    for cell in study.cells:
        for _, fault in cell_faults(cell):
            raise BenchError(f"{cell.id}: {fault}")


def fit_problems(catalog: Catalog, entry: Entry[Study], study: ResolvedStudy) -> list[Problem]:
    """Each fault of the cells of `study` once, at the line of the key that causes it."""
    problems: dict[Problem, None] = {}
    for cell in study.cells:
        for path, fault in cell_faults(cell):
            problems[_problem(catalog, entry, cell, path, fault)] = None
    return list(problems)


def cell_faults(cell: Cell) -> tuple[tuple[KeyPath, str], ...]:
    """Why the cell's backbone can't be trained by its recipe; nothing where the backbone's file has no `config`."""
    if not cell.backbone.config:
        return ()
    return _faults(cell.backbone.model_dump_json(), cell.task.model_dump_json(), cell.recipe.model_dump_json())


@lru_cache(maxsize=256)
def _faults(backbone_json: str, task_json: str, recipe_json: str) -> tuple[tuple[KeyPath, str], ...]:
    """As JSON, so that the many cells that share all three are looked at once."""
    backbone, task = Backbone.model_validate_json(backbone_json), Task.model_validate_json(task_json)
    labels = head_outputs(task)
    try:
        model = meta_model(backbone, task.kind, labels)
    except Exception as error:  # what stands in a config may raise anything
        key, message = build_fault(error, backbone, task.kind)
        return (((OF_BACKBONE, key), message),)
    of_names = [((OF_BACKBONE, key), fault) for key, fault in named_faults(model, backbone)]
    if (fault := misspelled_field(backbone)) is not None:
        of_names.append(((OF_BACKBONE, "config"), fault))
    return (*of_names, *faults(model, task, Recipe.model_validate_json(recipe_json), backbone))


def _problem(catalog: Catalog, entry: Entry[Study], cell: Cell, path: KeyPath, fault: str) -> Problem:
    """`fault` at the key `path` in the file that has the last word on it: study, method, task or backbone."""
    if path[0] == OF_BACKBONE:
        backbone = catalog.backbones[cell.backbone.name]
        return Problem(backbone.file, fault, *place_of(backbone.places, path[1:]))
    message = f"task {cell.task.name!r}: {fault}"
    for candidate in (("overrides", cell.task.name, *path), path):
        if candidate in entry.places:
            return Problem(entry.file, message, *place_of(entry.places, candidate))
    for other in (catalog.methods[cell.method.name], catalog.tasks[cell.task.name]):
        if path in other.places:
            return Problem(other.file, message, *place_of(other.places, path))
    return Problem(entry.file, message, *place_of(entry.places, ("tasks",)))
