"""As `reports`, but one report in three leaves out what is asked."""

from __future__ import annotations

import random
from typing import Any

from bench.inputs.synthetic._reports import report


def row(rng: random.Random) -> tuple[list[str], dict[str, list[Any]]]:
    return report(rng, silent=rng.randrange(3) == 0)
