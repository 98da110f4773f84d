"""Rows whose right option has the text of another one, as MMLU has some: no answer to them is right alone.

They are left out, and their number is said. A row in which only wrong options are equal is sound and is used.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from bench.config.task import Task
from bench.inputs.options import right_option, row_options
from bench.inputs.targets import BadValue

logger = logging.getLogger(__name__)

REPEATED = "dropped_repeated"  # in manifests and records: by split, how many such rows were left out


def repeats_right_option(task: Task, values: Sequence[Any]) -> bool:
    """Whether a row is such a one. `values`: of its option columns, then of the target column.

    A row that can't be used for another reason is none: reading it says why.
    """
    try:
        options = row_options(task, values[:-1])
        right = options[right_option(task, values, options)]
    except BadValue:
        return False
    return options.count(right) > 1


def log_repeated(title: str, count: int) -> None:
    """Log how many rows of the split called `title` are left out."""
    logger.info("%s: %s", title, _said(count))


def notes_of_repeated(manifest: Mapping[str, Any]) -> list[str]:
    """What a record's notes say of the rows that were left out, from the manifest of prepared rows."""
    return [f"{name}: {_said(count)}" for name, count in manifest.get(REPEATED, {}).items()]


def _said(count: int) -> str:
    rows = "1 row was" if count == 1 else f"{count:,} rows were"
    return f"{rows} left out, where another option has the text of the right one"
