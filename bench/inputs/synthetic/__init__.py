"""The demo's rows, made by seeded generators, so that the demo runs without a network.

No license but the project's applies. Records mark such rows as synthetic. Targets are true by construction, except that
generators that have CLASSES get wrong classes at a known rate (`_wrong_classes`).
"""

from __future__ import annotations

import importlib
import random
import zlib
from dataclasses import replace
from pathlib import Path

from bench.errors import BenchError, nearest
from bench.inputs.formats.rows import Rows
from bench.inputs.synthetic._wrong_classes import with_wrong_classes

SIZES = {"train": 1600}
EVALUATION_SIZE = 400


def generators() -> list[str]:
    """The names that a task's `data.embedded` can have, which are the modules of this folder."""
    return sorted(p.stem for p in Path(__file__).parent.glob("*.py") if not p.stem.startswith("_"))


def rows(generator: str, split: str, *, wrong_classes: bool = True) -> Rows:
    """The rows of `split`, the same on every machine. No text is in two splits. Raises BenchError if unknown.

    With `wrong_classes=False` each row has its true class.
    """
    if generator not in generators():
        raise BenchError(f"unknown embedded generator {generator!r}{nearest(generator, generators())}")
    module = importlib.import_module(f"{__name__}.{generator}")
    rng = random.Random(zlib.crc32(generator.encode()))
    wanted = SIZES.get(split, EVALUATION_SIZE)
    # A hash of its texts puts a row into one of 8 parts: 3 to 7 are for training, 0 to 2 for evaluation splits by name.
    evaluation_part = zlib.crc32(split.encode()) % 3 if split != "train" else None
    drawn = Rows([], [], [])
    while len(drawn.targets) < wanted:
        texts, target, *options = module.row(rng)
        part = zlib.crc32("\n".join(texts).encode()) % 8
        if (part >= 3) if evaluation_part is None else (part == evaluation_part):
            drawn.texts.append(texts)
            drawn.targets.append(target)
            drawn.options.extend(options)
    targets, classes = drawn.targets, getattr(module, "CLASSES", None)
    if wrong_classes and classes is not None:
        targets = with_wrong_classes(targets, classes, random.Random(zlib.crc32(split.encode())))
    return replace(drawn, targets=targets, numbers=list(range(wanted)))
