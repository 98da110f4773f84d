"""The demo's rows: made by seeded generators, labels true by construction, no license but ours, marked synthetic."""

from __future__ import annotations

import importlib
import random
import zlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import BenchError, nearest

if TYPE_CHECKING:
    from bench.inputs.sources import Rows

SIZES = {"train": 1600}
EVALUATION_SIZE = 400


def generators() -> list[str]:
    """Names that a task's `data.embedded` can have: the modules of this folder."""
    return sorted(p.stem for p in Path(__file__).parent.glob("*.py") if not p.stem.startswith("_"))


def rows(generator: str, split: str) -> Rows:
    """The rows of `split`: the same on every machine; no text stands in two splits. Raises BenchError."""
    if generator not in generators():
        raise BenchError(f"unknown embedded generator {generator!r}{nearest(generator, generators())}")
    from bench.inputs.sources import Rows

    make = importlib.import_module(f"{__name__}.{generator}").row
    random_ = random.Random(zlib.crc32(generator.encode()))
    wanted = SIZES.get(split, EVALUATION_SIZE)
    share = zlib.crc32(split.encode()) % 3 if split != "train" else None
    found = Rows([], [], [])
    while len(found.targets) < wanted:
        texts, target = make(random_)
        part = zlib.crc32("\n".join(texts).encode()) % 8  # where a text belongs follows from the text
        if (part >= 3) if share is None else (part == share):
            found.texts.append(texts)
            found.targets.append(target)
    return replace(found, numbers=list(range(wanted)))
