"""The trials of a study with a block `tuning`: every point of every group, with every trial seed, as cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.config.catalog import Entry
from bench.config.cell import Cell, Halving, Trial
from bench.config.overrides import COMMAND_LINE
from bench.config.points import point_key, points_of
from bench.config.recipe import Recipe
from bench.config.study import Study
from bench.config.task import Task
from bench.config.tuning import Tuning, Values
from bench.config.yaml_source import build, place_of
from bench.errors import Problem, SpecError
from bench.files import digest_json


def draw_points(entry: Entry[Study], tasks: Sequence[str], memo: Path | None) -> dict[str, tuple[Values, ...]]:
    """The points of each task; empty for a study without tuning. Raises SpecError if the space has too few of them."""
    tuning = entry.item.tuning
    if tuning is None:
        return {}
    try:
        return {task: points_of(tuning, task, memo) for task in tasks}
    except ValueError as error:
        message = f"tuning.space: {error}"
        raise SpecError([Problem(entry.file, message, *place_of(entry.places, ("tuning", "space")))]) from error


def with_values(recipe: Recipe, values: Mapping[str, Any], entry: Entry[Study]) -> Recipe:
    """`recipe` with tuned values laid over it. Raises SpecError with the place in the study's space."""
    changes = dict(values)
    if "alpha" in changes:
        changes.setdefault("scale", None)  # which would replace the alpha
    below = ("tuning", "space") if entry.item.tuning else ("recipe_from",)
    places = {path[len(below) :]: place for path, place in entry.places.items() if path[: len(below)] == below}
    try:
        return build(Recipe, {**recipe.model_dump(), **changes}, places, entry.file)
    except SpecError as error:
        point = ", ".join(f"{key} {value}" for key, value in values.items() if key != "holdout_rows")
        raise SpecError(
            Problem(p.file, f"the point {point} makes no recipe: {p.message}", p.line, p.column) for p in error.problems
        ) from error


def trials_of(entry: Entry[Study], cell: Cell, points: Sequence[Values], recipes: dict[Any, Recipe]) -> list[Cell]:
    """The trials of the group of `cell`: point by point, seed by seed.

    A trial holds out the tuning's rows, and is scored at its end alone.

    `recipes` keeps what was built, since groups share recipes. Raises SpecError if a point makes no valid recipe.
    """
    tuning = entry.item.tuning
    assert tuning is not None
    seeds = tuning.seeds_of(cell.task.name)
    halving = _halving(tuning, points, seeds, cell)
    trials = []
    for values in points:
        point = point_key(values)
        key = (cell.recipe, point)
        if key not in recipes:
            # What happens after an epoch decides no choice: a study that asks for it has the trials that it had.
            recipe = cell.recipe.model_copy(update={"score_epochs": False})
            recipes[key] = with_values(recipe, {**values, "holdout_rows": tuning.holdout_rows}, entry)
        trial = Trial(point=point, values=values, choose_by=tuning.choose_by, choose=tuning.choose, halving=halving)
        trials += [
            cell.model_copy(update={"seed": seed, "recipe": recipes[key], "trial": trial, "choice": None})
            for seed in seeds
        ]
    return trials


def trained_like(cell: Cell, trial: Cell) -> Cell:
    """The final cell `cell` with the recipe of `trial`, except for what a trial has of its own (`trials_of`)."""
    own = {"holdout_rows": cell.recipe.holdout_rows, "score_epochs": cell.recipe.score_epochs}
    return cell.model_copy(update={"recipe": trial.recipe.model_copy(update=own)})


def tuning_problems(entry: Entry[Study], given: Mapping[str, Any], seeds: Sequence[int]) -> Iterator[Problem]:
    """What in a study contradicts its tuning. `given`: what the command line says; `seeds`: of its cells."""
    tuning = entry.item.tuning
    if tuning is None:
        return
    if entry.item.recipe_from is not None:
        yield Problem(
            entry.file,
            "recipe_from: the values would be taken over, and tuned as well: give one of recipe_from, tuning",
            *place_of(entry.places, ("recipe_from",)),
        )
    of_tasks = [(("task_seeds", task), own) for task, own in tuning.task_seeds.items()]
    for path, own in ((("seeds",), tuning.seeds), *of_tasks):
        for seed in sorted(set(own) & set(seeds)):
            said = "is a seed of the study; what is reported must not be chosen by its own seeds"
            message = f"tuning.{'.'.join(path)}: {seed} {said}"
            yield Problem(entry.file, message, *place_of(entry.places, ("tuning", *path)))
    if {"alpha", "scale"} <= tuning.space.keys():
        message = "tuning.space: a scale replaces alpha, which would have no effect: tune one of alpha, scale"
        yield Problem(entry.file, message, *place_of(entry.places, ("tuning", "space", "alpha")))
    recipes = [given.get("recipe") or {}, *(o.get("recipe") or {} for o in (given.get("overrides") or {}).values())]
    named = {key for recipe in recipes for key in recipe}
    for key in tuning.space:
        # a scale replaces an alpha, so that the one that is tuned outranks the other
        for other in named & ({"alpha", "scale"} if key in ("alpha", "scale") else {key}):
            message = f"recipe.{other} has no effect, since the study tunes {key}: set tuning.space.{key}"
            yield Problem(COMMAND_LINE, message)


def _halving(tuning: Tuning, points: Sequence[Values], seeds: Sequence[int], cell: Cell) -> Halving | None:
    rungs = tuning.rungs
    if not rungs or tuning.halving is None:
        return None
    rivals = {"points": sorted(map(point_key, points)), "seeds": list(seeds), "by": tuning.choose_by}
    return Halving(
        rungs=rungs, factor=tuning.halving, rivals=digest_json({**rivals, **direction(tuning.choose_by, cell.task)})
    )


def direction(choose_by: str, task: Task) -> dict[str, bool]:
    """What a hash of the rule of a choice has besides, where a task's lowest score is chosen; older hashes stay."""
    by = task.metric_facts(task.metric)
    return {"smaller_is_better": True} if choose_by == "metric" and by.says_direction else {}
