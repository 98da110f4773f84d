"""What a study names although there is no such file: found in its text, so that other faults of the study hide none."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from bench.config.catalog import Catalog
from bench.config.renamed import suggestion
from bench.config.yaml_source import KeyPath, Places, place_of
from bench.errors import Problem


def unknown_names(catalog: Catalog, data: Mapping[str, Any], places: Places, file: Path) -> list[Problem]:
    """A problem for each task, method, backbone and budget that a study names but that does not exist.

    `data` is the study as its file has it, which need not be valid.
    """
    budgets = data.get("budgets")
    valid: dict[str, Collection[str]] = {
        "task": catalog.tasks.keys() | catalog.invalid.get("tasks", ()),
        "method": catalog.methods.keys() | catalog.invalid.get("methods", ()),
        "backbone": catalog.backbones.keys() | catalog.invalid.get("backbones", ()),
        "budget": budgets.keys() if isinstance(budgets, dict) else (),
    }
    overrides, tuning = data.get("overrides"), data.get("tuning")
    seeds = tuning.get("task_seeds") if isinstance(tuning, dict) else None
    named: list[tuple[str, KeyPath, Any]] = [
        ("task", ("tasks",), data.get("tasks")),
        ("method", ("methods",), data.get("methods")),
        ("backbone", ("backbones",), data.get("backbones")),
        ("task", ("overrides",), _keys(overrides)),
        ("task", ("tuning", "task_seeds"), _keys(seeds)),
    ]
    grids = data.get("grids")
    for index, grid in enumerate(grids if isinstance(grids, list) else ()):
        for what in ("task", "method", "budget") if isinstance(grid, dict) else ():
            named.append((what, ("grids", index, f"{what}s"), grid.get(f"{what}s")))
    return [
        Problem(file, f"unknown {what} {name!r}{suggestion(name, valid[what])}", *place_of(places, (*path, key)))
        for what, path, names in named
        for key, name in _items(names)
        if isinstance(name, str) and name not in valid[what]
    ]


def _keys(value: Any) -> dict[Any, Any] | None:
    """The keys of a mapping, each of itself; None for any other value."""
    return {key: key for key in value} if isinstance(value, dict) else None


def _items(value: Any) -> Iterable[tuple[str | int, Any]]:
    """The items of a list or a mapping with their keys; nothing of any other value."""
    if isinstance(value, dict):
        return value.items()
    return enumerate(value) if isinstance(value, list) else ()
