"""Values that the command line lays over a study: `--set recipe.epochs=1`, or `--config set="recipe.epochs=1"`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.config.catalog import Entry
from bench.config.study import Study
from bench.config.yaml_source import build, parse_yaml
from bench.errors import BenchError

COMMAND_LINE = Path("command line")  # named in errors in place of a file


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it. Mappings are merged key by key; any other value is replaced.

    >>> merge({"recipe": {"epochs": 3, "alpha": 16}}, {"recipe": {"epochs": 1}})
    {'recipe': {'epochs': 1, 'alpha': 16}}
    """
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def apply_overrides(entry: Entry[Study], overrides: Sequence[str]) -> tuple[Entry[Study], dict[str, Any]]:
    """The study with each override laid over it, and what the overrides say as one nested mapping.

    An override is `dotted.key=VALUE`, where VALUE is YAML: 'recipe.epochs=1', 'tasks=[rte]'. Keys that come from the
    command line have the place (0, 0), which tells them from keys of the file. Raises BenchError if an override has no
    key or no '=', and SpecError if the result is no valid study.
    """
    data, places = entry.data, dict(entry.places)
    given: dict[str, Any] = {}
    for override in overrides:
        key, equals_sign, text = override.partition("=")
        if not equals_sign or not key.strip():
            raise BenchError(f"override {override!r}: expected key=value, such as recipe.epochs=1")
        parsed, _ = parse_yaml(f"value: {text}", COMMAND_LINE)
        path = key.strip().split(".")
        changes: Any = parsed["value"]
        for part in reversed(path):
            changes = {part: changes}
        data, given = merge(data, changes), merge(given, changes)
        places = {place: position for place, position in places.items() if place[: len(path)] != tuple(path)}
        places |= {tuple(path[:end]): (0, 0) for end in range(len(path) + 1)}
    return Entry(build(Study, data, places, entry.file), data, places, entry.file), given


def recipe_overrides(given: Mapping[str, Any], task: str) -> dict[str, Any]:
    """What the command line says about the recipe of `task`. It outranks the study, the method and the budget."""
    of_task = (given.get("overrides") or {}).get(task) or {}
    recipe = merge(given.get("recipe") or {}, of_task.get("recipe") or {})
    # `scale` in a file replaces alpha, so an alpha on the command line has no effect unless it clears it.
    return {"scale": None, **recipe} if "alpha" in recipe else recipe
