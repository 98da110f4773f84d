"""In what two records of one cell differ: their results, their environments, their specs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from bench.config.cell import deciding_spec
from bench.records.schema import Record, result_of

# Of `result_of`, what names the cell and its inputs and is no result, and hashes of files, whose contents are compared.
NO_RESULT = ("schema_version", "cell", "spec", "data", "model", "files")
# What differs between any two runs, or between any two machines, and can't change a bit.
ANYWHERE = ("machine", "gpu_uuid", "other_processes", "slurm")
NOT_RECORDED = "not recorded"

Difference = tuple[Any, Any]  # the value of the first record, and that of the second


def result_differences(first: Record, second: Record) -> list[str]:
    """The fields of the result, as `result_of` has it without files, in which two records of a cell are not the same.

    No such field and equal files (`Record.files`) mean the same bits. What one of the records does not say, as one of
    an older version, is not compared.
    """
    one, other = result_of(first), result_of(second)
    return sorted(key for key in one.keys() & other.keys() - {*NO_RESULT} if not _same(one[key], other[key]))


def environment_differences(first: Record, second: Record) -> dict[str, Difference]:
    """By the name of what differs, such as `packages.torch`, its two values, in the order of names.

    Where one of the records does not say it, as one of an older version, its value is `NOT_RECORDED`.
    """
    one, other = (dict(_leaves(record.environment)) for record in (first, second))
    names = sorted(name for name in one.keys() | other.keys() if name.partition(".")[0] not in ANYWHERE)
    pairs = {name: (one.get(name, NOT_RECORDED), other.get(name, NOT_RECORDED)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def spec_differences(first: Record, second: Record) -> dict[str, Difference]:
    """By the path of the key, such as `recipe.learning_rate`, its two values: only of keys that decide the result."""
    one, other = (dict(_leaves(deciding_spec(record.spec))) for record in (first, second))
    names = sorted(one.keys() | other.keys())
    pairs = {name: (one.get(name), other.get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def value_text(value: Any) -> str:
    """A value of a difference for readers: a long hash is cut to its first 12 digits."""
    if value is None:
        return "none"
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text[:12] if re.fullmatch(r"[0-9a-f]{40,64}", text) else text


def _same(first: Any, second: Any) -> bool:
    """Whether two values are the same in all that both of them say."""
    if isinstance(first, dict) and isinstance(second, dict):
        return all(_same(first[key], second[key]) for key in first.keys() & second.keys())
    return first == second or any(value is None or value == [] for value in (first, second))


def _leaves(block: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in block.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value
