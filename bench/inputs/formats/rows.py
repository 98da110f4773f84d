"""Rows in memory: those of a block, never of a whole split."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

BLOCK = 1000  # rows that are in memory at once


@dataclass(frozen=True)
class Rows:
    """Some rows of one split: a block of what `SourceSplit.blocks` reads, or all rows of a generator."""

    texts: list[list[Any]]  # those of the text columns, per row; of an image column the bytes of its file
    targets: list[Any]  # labels, numbers, texts, the index of the right option, or answers
    numbers: list[int]  # number of each row in the source
    options: list[list[str]] = field(default_factory=list)  # of multiple-choice tasks, per row; else empty


@dataclass(frozen=True)
class Block:
    """At most BLOCK rows of a file: one list of values per column, and the line of each row where it has lines."""

    columns: list[list[Any]]
    lines: list[int] | None = None
