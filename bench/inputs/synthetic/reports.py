"""A question and a report of three sentences, one of which answers it: who did it, where, or when."""

from __future__ import annotations

import random
from typing import Any

from bench.inputs.synthetic._reports import report


def row(rng: random.Random) -> tuple[list[str], dict[str, list[Any]]]:
    return report(rng)
