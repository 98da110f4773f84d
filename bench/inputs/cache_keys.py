"""Where prepared data and models stand: names that follow from the spec alone. Standard library only.

The Snakefile asks at every parse, so nothing here reads a data set or imports a tokenizer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.config.backbone import Backbone
from bench.config.cell import DataChoice
from bench.config.task import Task
from bench.files import digest_json
from bench.paths import CachePaths

HEX = 12  # digits of a key
FORMAT = 1  # raise it when the prepared files change their meaning: everything is then prepared anew


def data_folder(task: Task, backbone: Backbone, choice: DataChoice, mirror: Path | None, cache: Path) -> Path:
    """<cache>/data/<task>-<key>; the key follows from all that decides the prepared rows."""
    what = {
        "format": FORMAT,
        "task": task.name,
        "kind": task.kind,
        "data": task.data.model_dump(mode="json", exclude={"rows"}),
        "labels": task.labels,
        "prefix": task.prefix,
        "max_length": task.recipe.max_length,
        "max_target_length": task.recipe.max_target_length if task.generates else None,
        "choice": choice.model_dump(mode="json"),
        "mirror": _mirror_key(mirror) if choice.source == "hub" else None,
        "tokenizer": _backbone_key(backbone, mirror),
    }
    return CachePaths(cache).data(f"{task.name}-{digest_json(what)[:HEX]}")


def backbone_folder(backbone: Backbone, mirror: Path | None, cache: Path) -> Path:
    """<cache>/models/<backbone>-<key>; the key follows from where the weights come from."""
    return CachePaths(cache).model(f"{backbone.name}-{digest_json(_backbone_key(backbone, mirror))[:HEX]}")


def _backbone_key(backbone: Backbone, mirror: Path | None) -> dict[str, Any]:
    source = backbone.model_dump(mode="json", include={"hub", "revision", "package", "path", "built"})
    return {
        "format": FORMAT,
        "source": source,
        "config": backbone.config if backbone.built else None,
        "mirror": _mirror_key(mirror) if backbone.hub else None,
    }


def _mirror_key(mirror: Path | None) -> str | None:
    return str(mirror.resolve()) if mirror else None
