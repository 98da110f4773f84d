"""The options of a multiple-choice row, and which of them is right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.config.task import Task
from bench.inputs.targets import BadValue, check_text, short, target

FEWEST = 2


def row_options(task: Task, values: Sequence[Any]) -> list[str]:
    """The options of a row, whose option columns hold `values`. Raises BadValue where they are no list of texts."""
    columns = task.data.columns
    if columns.options is None:
        return list(task.labels)
    found = values[0] if isinstance(columns.options, str) else list(values)
    if not isinstance(found, (list, tuple)) or len(found) < FEWEST:
        raise BadValue(f"should hold a list of at least {FEWEST} options, found {short(found)}")
    options = [check_text(option) for option in found]
    blank = next((option for option in options if not option.strip()), None)
    if blank is not None or len(set(options)) != len(options):
        raise BadValue(f"holds an option that is {'a repetition' if blank is None else 'empty'}: {short(found)}")
    return options


def right_option(task: Task, values: Sequence[Any], options: Sequence[str]) -> int:
    """The index of the right one of `options`. `values`: of the option columns, then of the target column.

    Raises BadValue where the target is neither an index nor, where a column holds names, one of these.
    """
    columns, value = task.data.columns, values[-1]
    if columns.options is None:
        return int(target(task, value))
    names = values[1] if columns.option_names else None
    if names is not None:
        if not isinstance(names, (list, tuple)) or len(names) != len(options):
            raise BadValue(f"should be one of {len(options)} names, but {columns.option_names!r} is {short(names)}")
        spelled = [str(name) for name in names]
        if str(value) in spelled:
            return spelled.index(str(value))
        raise BadValue(f"should hold one of {', '.join(spelled)}, found {short(value)}")
    index = int(value) if isinstance(value, str) and value.isascii() and value.isdecimal() else value
    if isinstance(index, int) and not isinstance(index, bool) and 0 <= index < len(options):
        return index
    raise BadValue(f"should hold the index of an option, 0 to {len(options) - 1}, found {short(value)}")
