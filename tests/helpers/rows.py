"""All rows of a split at once, which only small splits allow."""

from __future__ import annotations

from dataclasses import fields

from bench.inputs.formats.rows import Rows
from bench.inputs.sources import SourceSplit


def all_rows(split: SourceSplit) -> Rows:
    blocks = list(split.blocks())
    return Rows(*([value for block in blocks for value in getattr(block, field.name)] for field in fields(Rows)))
