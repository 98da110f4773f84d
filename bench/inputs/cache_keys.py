"""The names of prepared folders in the cache, which follow from the configuration alone.

Snakemake asks for them at every parse, so nothing here reads a data set or imports a library that is slow to import.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.config.backbone import Backbone
from bench.config.cell import DataChoice
from bench.config.task import Task
from bench.files import digest_json
from bench.paths import CachePaths

KEY_LENGTH = 12  # hex digits
# Raise one of them when the meaning of those prepared files changes, so that all of them are prepared again.
# 2: rows hold segment ids where the model takes them; 3: Arrow files; 4: no row without a token, and booleans by name
DATA_FORMAT = 4
MODEL_FORMAT = 1
GENERATED = 2  # what the generators make: their rows, and the models trained on them


def data_folder(
    task: Task,
    backbone: Backbone,
    choice: DataChoice,
    mirror: Path | None,
    cache: Path,
    reader: Mapping[str, str] | None = None,
) -> Path:
    """cache/data/<task>-<key>, where the key is a hash of everything that decides the prepared rows.

    `reader`: the hashes of what reads the rows in place of the backbone.
    """
    columns = task.data.columns.model_dump(mode="json", exclude_none=True)
    # What is not set of the keys that were added later leaves the name as it was.
    later = ("evaluation_from", "installed")
    excluded = {"rows", *(key for key in later if getattr(task.data, key) is None)}
    data = task.data.model_dump(mode="json", exclude=excluded)
    decides = {
        "format": DATA_FORMAT,
        "task": task.name,
        "kind": task.kind,
        "data": {**data, "columns": columns},
        "labels": task.labels,
        "prefix": task.prefix,
        "max_length": task.recipe.max_length if task.facts.input == "text" else None,
        "max_target_length": task.recipe.max_target_length if task.facts.target_tokens else None,
        **({"prompt": task.prompt.model_dump(mode="json")} if task.prompt else {}),
        **({"languages": task.languages.model_dump(mode="json")} if task.languages else {}),
        **({"answers": _answers_key(task)} if task.facts.target == "span" else {}),
        "choice": choice.model_dump(mode="json"),
        "mirror": _mirror_key(mirror) if choice.source == "hub" and task.data.hub else None,
        "folders": [str(folder.resolve()) for folder in task.data.folders] if task.data.files else None,
        **({"generated": GENERATED} if choice.source == "embedded" else {}),
        "tokenizer": dict(reader) if reader else _backbone_key(backbone, mirror),
    }
    return CachePaths(cache).data(f"{task.name}-{digest_json(decides)[:KEY_LENGTH]}")


def _answers_key(task: Task) -> dict[str, Any]:
    return task.answering.model_dump(mode="json", include={"stride", "no_answer"})


def backbone_folder(backbone: Backbone, mirror: Path | None, cache: Path) -> Path:
    """cache/models/<backbone>-<key>, where the key is a hash of where the weights come from."""
    return CachePaths(cache).model(f"{backbone.name}-{digest_json(_backbone_key(backbone, mirror))[:KEY_LENGTH]}")


def _backbone_key(backbone: Backbone, mirror: Path | None) -> dict[str, Any]:
    source = backbone.model_dump(mode="json", include={"hub", "revision", "package", "path", "built"})
    if backbone.package is not None:
        source["package"] = backbone.package.model_dump(mode="json", exclude={"install"}, exclude_none=True)
    return {
        "format": MODEL_FORMAT,
        "source": source,
        "config": backbone.config if backbone.built else None,
        **({"generated": GENERATED} if backbone.built else {}),
        "mirror": _mirror_key(mirror) if backbone.hub else None,
    }


def _mirror_key(mirror: Path | None) -> str | None:
    return str(mirror.resolve()) if mirror else None
