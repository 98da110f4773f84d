"""Hold what a saved model says of itself, in config.json or adapter_config.json, against the task and the backbone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.config.backbone import Backbone
from bench.config.task import Task
from bench.errors import BenchError
from bench.files import canonical_json

# Names that only number the classes, as transformers makes them up where none were given.
NUMBERED = re.compile(r"(?:label[ _-]?)?(\d+)", re.IGNORECASE)
SINGLE_LABEL, REGRESSION = "single_label_classification", "regression"
PROBLEM = {"classification": SINGLE_LABEL, "image-classification": SINGLE_LABEL, "regression": REGRESSION}


def read_description(file: Path) -> dict[str, Any]:
    """The JSON object in `file`. Raises BenchError where there is none."""
    try:
        description = json.loads(file.read_bytes())
        canonical_json(description)  # refuses Infinity and NaN, which Python reads but JSON does not have
    except (OSError, ValueError, RecursionError) as error:
        raise BenchError(f"{file}: no readable JSON: {error}") from error
    if not isinstance(description, dict):
        raise BenchError(f"{file}: expected a JSON object, found {type(description).__name__}")
    return description


def check_checkpoint(file: Path, config: dict[str, Any], task: Task, prepared: dict[str, Any], name: str) -> None:
    """Hold the `config` of a checkpoint, read from `file`, against the task and the config of the backbone `name`.

    Raises BenchError where it is of another architecture or was trained for another kind of task.
    """
    found, expected = config.get("model_type"), prepared.get("model_type")
    if found != expected:
        raise BenchError(f"{file}: describes a model of type {found!r}, but backbone {name!r} is {expected!r}")
    problem = config.get("problem_type")
    if task.kind in PROBLEM and problem not in (None, PROBLEM[task.kind]):
        raise BenchError(f"{file}: problem_type is {problem!r}, but task {task.name!r} is {task.kind}")


def check_adapter_config(file: Path, config: dict[str, Any], task: Task, backbone: Backbone, *, any_base: bool) -> None:
    """Hold an adapter's `config`, read from `file`, against the task and the backbone; `any_base`: but not its base.

    Names of bases are compared by their last part, since the rest is often the place of a folder. Raises BenchError.
    """
    expected = task.facts.adapter_task
    if config.get("task_type") not in (None, expected):
        raise BenchError(
            f"{file}: task_type is {config['task_type']!r}, but task {task.name!r} ({task.kind}) needs {expected!r}"
        )
    base = config.get("base_model_name_or_path")
    known = [backbone.name, backbone.hub, backbone.path, backbone.package and backbone.package.module]
    if base and not any_base and _last_part(str(base)) not in {_last_part(name) for name in known if name}:
        raise BenchError(
            f"{file}: the adapter was trained on {base!r}, but backbone {backbone.name!r} is "
            f"{backbone.hub or backbone.path or backbone.name}; if they are the same model, add --any-base"
        )
    revision = config.get("revision")
    if base and not any_base and revision and backbone.revision and not backbone.revision.startswith(str(revision)):
        raise BenchError(
            f"{file}: the adapter was trained on revision {revision} of its base, but backbone {backbone.name!r} is "
            f"{backbone.revision}; to score it on that, add --any-base"
        )


def _last_part(name: str) -> str:
    return name.rstrip("/\\").replace("\\", "/").rpartition("/")[2].casefold()


def check_same_vocabulary(file: Path, config: dict[str, Any], prepared: dict[str, Any], name: str) -> None:
    """Raises BenchError where a checkpoint without a tokenizer can't be read by that of the backbone `name`."""
    for key in ("vocab_size", "type_vocab_size"):
        if config.get(key) != prepared.get(key):
            raise BenchError(
                f"{file}: {key} is {config.get(key)}, but backbone {name!r}, whose tokenizer would be used because "
                f"there is none in the folder, has {prepared.get(key)}"
            )


def class_names(file: Path, config: dict[str, Any]) -> list[str] | None:
    """The names of a checkpoint's classes in the order of its outputs; None where its `config` names none.

    Raises BenchError where `id2label` skips an output, or where `label2id` says otherwise.
    """
    by_id, by_label = (config.get(key) or {} for key in ("id2label", "label2id"))
    try:
        names = {int(output): str(name) for output, name in by_id.items()}
        inverse = {int(output): str(name) for name, output in by_label.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise BenchError(f"{file}: id2label and label2id should map outputs to names and back: {error}") from error
    # Where people set one of the two, transformers saves numbers as the other.
    if not names or (only_numbers(names.values()) and inverse and not only_numbers(inverse.values())):
        names = inverse
    elif inverse and not only_numbers(inverse.values()) and inverse != names:
        raise BenchError(f"{file}: id2label says {_told(names)}, but label2id says {_told(inverse)}")
    if not names:
        return None
    if sorted(names) != list(range(len(names))):
        raise BenchError(f"{file}: id2label should name the outputs 0 to {len(names) - 1}, found {_told(names)}")
    return [names[output] for output in range(len(names))]


def class_order(where: str, names: Sequence[str] | None, task: Task) -> list[int] | None:
    """Which of a model's outputs stands for each class of the task; None where they have the same order already.

    `names` are those of the model's classes in the order of its outputs, and `where` says so. They are compared
    without regard to case, blanks, hyphens and underscores. Numbers (LABEL_0) are positions in the task's order. Raises
    BenchError where the names are not the task's.
    """
    if names is None or task.kind not in PROBLEM:
        return None
    if task.kind == "regression":
        if len(names) != 1:
            raise BenchError(f"{where} has {len(names)} outputs ({', '.join(names)}), but {task.name!r} is regression")
        return None
    labels = list(task.labels)
    if len(names) != len(labels):
        raise BenchError(
            f"{where} has {len(names)} classes ({', '.join(names)}), but task {task.name!r} has {len(labels)} "
            f"({', '.join(labels)})"
        )
    order = _by_name(list(names), labels) or _by_name(_plain(names), _plain(labels)) or _by_number(names)
    if order is None:
        raise BenchError(
            f"{where} has the classes {', '.join(names)}, but task {task.name!r} has {', '.join(labels)}; if they mean "
            "the same, name the model's outputs in their order by the task's labels: --label NAME --label NAME"
        )
    return None if order == list(range(len(order))) else order


def _by_name(names: list[str], labels: list[str]) -> list[int] | None:
    if len(set(names)) != len(names) or set(names) != set(labels):
        return None
    return [names.index(label) for label in labels]


def _by_number(names: Sequence[str]) -> list[int] | None:
    if not only_numbers(names):
        return None
    numbers = [int(match[1]) for name in names if (match := NUMBERED.fullmatch(name))]
    return [numbers.index(k) for k in range(len(numbers))] if sorted(numbers) == list(range(len(numbers))) else None


def only_numbers(names: Iterable[str]) -> bool:
    """Whether all of these names of classes only number them."""
    return all(NUMBERED.fullmatch(name) for name in names)


def _plain(names: Sequence[str]) -> list[str]:
    return [re.sub(r"[\s_-]+", " ", name).strip().casefold() for name in names]


def _told(names: dict[int, str]) -> str:
    return ", ".join(f"{output}: {name}" for output, name in sorted(names.items()))
