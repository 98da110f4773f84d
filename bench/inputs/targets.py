"""Check the texts and targets of rows, and map targets to what the task's kind needs. Checks of class names too."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from bench.config.task import Task
from bench.errors import BenchError, nearest

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_INDEX = re.compile(r"(0|-?[1-9]\d{0,9})(\.0+)?", re.ASCII)
_TRUTH = {True: ("true", "yes"), False: ("false", "no")}  # how labels call the values of a column of booleans
_WHOLE = re.compile(r"-?\d+", re.ASCII)

FLOAT32_MAX = 3.4028234663852886e38


class BadValue(ValueError):
    """A text or target that can't be used; its message continues 'column X ...'."""


def check_text(value: Any) -> str:
    """`value`. Raises BadValue unless it is a text that can be written as UTF-8."""
    if not isinstance(value, str):
        hint = "; a field of it is named with a dot" if isinstance(value, dict) else ""
        raise BadValue(f"should hold a text, found {short(value)}{hint}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise BadValue(f"holds half of a surrogate pair, which is no character: {short(value)}") from error
    return value


def is_unlabelled(task: Task, value: Any) -> bool:
    """Whether a row has no target: none at all, or -1, which GLUE's test splits and SNLI have in its place."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return True
    if isinstance(value, str) and not value.strip():
        return True
    if not task.classes:
        return False
    return value in (-1, "-1") and "-1" not in names_in_data(task)


def names_in_data(task: Task) -> list[str]:
    """The names of the labels as the data have them."""
    return task.data.class_names or task.labels


def target(task: Task, value: Any, *, has_names: bool = False) -> Any:
    """A target as the task's kind has it: a text, a number, or the index of a label.

    `has_names` says that the data name their classes, so that a number is the index of a name. Raises BadValue.
    """
    if task.facts.target == "text":
        if isinstance(value, str) and value.strip():
            return check_text(value)
        raise BadValue(f"should hold the target text, found {short(value)}")
    if task.facts.target == "number":
        return _number(value)
    return _label(task, value, has_names=has_names)


def check_class_names(task: Task, names: Sequence[str], where: str) -> None:
    """Raises BenchError where `names`, which the data give their classes, contradict the task's labels.

    Case, blanks, hyphens and underscores make no difference. Names that are only their own indices say nothing.
    """
    expected = names_in_data(task)
    if list(names) == [str(index) for index in range(len(expected))]:
        return
    if [_plain(name) for name in names] == [_plain(name) for name in expected]:
        return
    key = "class_names" if task.data.class_names else "labels"
    hint = "where they mean the same, say `class_names` in `data`: the names in the data, in the order of `labels`"
    if len(names) != len(expected):
        hint = f"{len(names)} and not {len(expected)}"
    elif sorted(map(_plain, names)) == sorted(map(_plain, expected)):
        hint = "the order is another"
    raise BenchError(f"{where} has the classes {list(names)}, but `{key}` of task {task.name!r} are {expected}: {hint}")


def short(value: Any) -> str:
    """`value` in at most 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def _number(value: Any) -> float:
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    is_number = isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)
    # Targets are float32, where a larger number is infinite. No comparison holds for what is no number.
    if is_number and -FLOAT32_MAX <= value <= FLOAT32_MAX:
        return float(value)
    raise BadValue(f"should hold a finite number, found {short(value)}")


def _label(task: Task, value: Any, *, has_names: bool) -> int:
    """The index of the label that `value` names, else of the label at that index.

    Labels that are numbers themselves, such as stars from 1 to 5, are meant by numbers, unless the data say by
    `has_names` that their numbers are indices.
    """
    names = names_in_data(task)
    index = _index_of_truth(value, names) if isinstance(value, bool) else whole_number(value)
    if isinstance(value, str) and value in names:
        return names.index(value)
    if any(_WHOLE.fullmatch(name) for name in names) and not (has_names and not isinstance(value, str)):
        index = names.index(str(index)) if str(index) in names else None
    if index is not None and 0 <= index < len(names):
        return index
    hint = nearest(value, names) if isinstance(value, str) else ""
    raise BadValue(f"should hold 0 to {len(names) - 1} or one of {names}, found {short(value)}{hint}")


def _index_of_truth(value: bool, names: Sequence[str]) -> int:
    """The index of the name that says `value`, wherever it stands among `names`; else 0 for false and 1 for true."""
    said = [index for index, name in enumerate(names) if name.casefold() in _TRUTH[value]]
    return said[0] if len(said) == 1 else int(value)


def whole_number(value: Any) -> int | None:
    """`value` as a whole number, which pandas writes as 1.0 where a column has gaps; None where it is none."""
    if isinstance(value, str):
        return int(value.partition(".")[0]) if _INDEX.fullmatch(value) else None
    if isinstance(value, int):
        return int(value)
    if isinstance(value, (float, Decimal)) and math.isfinite(value) and value == int(value):
        return int(value)
    return None
