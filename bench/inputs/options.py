"""The options of a multiple-choice row, and which of them is right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.config.task import Task
from bench.inputs.targets import BadValue, check_text, short, target, whole_number

FEWEST = 2


def row_options(task: Task, values: Sequence[Any]) -> list[str]:
    """The options of a row, whose option columns hold `values`. Raises BadValue where they are no list of texts."""
    columns = task.data.columns
    if columns.options is None:
        return list(task.labels)
    found = values[0] if isinstance(columns.options, str) else list(values)
    if not isinstance(found, (list, tuple)) or len(found) < FEWEST:
        hint = "; a field of it is named with a dot" if isinstance(found, dict) else ""
        raise BadValue(f"should hold a list of at least {FEWEST} options, found {short(found)}{hint}")
    options = [check_text(option) for option in found]
    blank = next((option for option in options if not option.strip()), None)
    if blank is not None:
        raise BadValue(f"holds an option that is empty: {short(found)}")
    return options


def right_option(task: Task, values: Sequence[Any], options: Sequence[str]) -> int:
    """The index of the right one of `options`. `values`: of the option columns, then of the target column.

    Raises BadValue where the target is neither an index nor, where options have names, one of these.
    """
    columns, value = task.data.columns, values[-1]
    if columns.options is None:
        return int(target(task, value))
    if columns.option_names is not None:
        return _named(_names(columns.option_names, values, len(options)), value)
    index = None if isinstance(value, bool) else whole_number(value)
    if index is not None and 0 <= index < len(options):
        return index
    named = index == len(options) or (index is None and isinstance(value, str))
    hint = "; options that are counted from 1 or called A, B, ... need `option_names`" if named else ""
    raise BadValue(f"should hold the index of an option, 0 to {len(options) - 1}, found {short(value)}{hint}")


def _names(option_names: str | list[str], values: Sequence[Any], count: int) -> list[str]:
    """The names of a row's options: those that the task gives the options of every row, or those of its column."""
    if isinstance(option_names, list):
        if len(option_names) < count:
            raise BadValue(f"should be one of {count} names, but `option_names` has {len(option_names)}")
        return option_names[:count]
    names = values[1]
    if not isinstance(names, (list, tuple)) or len(names) != count:
        raise BadValue(f"should be one of {count} names, but {option_names!r} is {short(names)}")
    return [str(name) for name in names]


def _named(names: Sequence[str], value: Any) -> int:
    if str(value) in names:
        return names.index(str(value))
    raise BadValue(f"should hold one of {', '.join(names)}, found {short(value)}")
