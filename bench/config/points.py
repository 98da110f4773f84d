"""The points of a study's tuning: drawn once per task, the same for every method, so that methods stay paired.

A point is a mapping of recipe keys to values, {"learning_rate": 0.00123}. Its key is a hash of the values alone, and
its trials are filed under it: a space that changes leaves the trials of the points that stay.
"""

from __future__ import annotations

import itertools
import json
import math
import random
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from bench.config.tuning import Dimension, Tuning, Values, takes_whole_numbers
from bench.files import canonical_json, digest_json, write_atomic

KEY_LENGTH = 8  # hex digits
DIGITS = 3  # significant digits of a value from a range: more of them mean nothing, and nobody could read them
MOST_DRAWS = 4096  # before a space with too few different points is given up
SOBOL_BITS = 30


def points_of(tuning: Tuning, task: str, memo: Path | None = None) -> tuple[Values, ...]:
    """The points of `task`, all different. The first n of them are those of a tuning with n trials.

    `memo`: a folder in which drawn points are kept, because the library that draws a Sobol sequence takes a second and
    a half to import and each job of a study asks again. Raises ValueError if the space has too few different points.

    Example:
        >>> space = {"learning_rate": {"from": 1e-4, "to": 1e-2, "scale": "log"}}
        >>> points_of(Tuning.model_validate({"space": space, "trials": 2, "sampler": "random"}), "cola")
        ({'learning_rate': 0.00573}, {'learning_rate': 0.00834})
    """
    return tuple(dict(point) for point in _points(tuning.model_dump_json(by_alias=True), task, memo))


def point_key(values: Values) -> str:
    """The key of a point."""
    return digest_json(values)[:KEY_LENGTH]


@lru_cache(maxsize=256)
def _points(tuning_json: str, task: str, memo: Path | None) -> tuple[Values, ...]:
    tuning = Tuning.model_validate_json(tuning_json)
    if tuning.grid_size is not None:
        lists = [dimension.values or [] for dimension in tuning.space.values()]
        grid = tuple(dict(zip(tuning.space, values, strict=True)) for values in itertools.product(*lists))
        if len(set(map(point_key, grid))) < len(grid):  # their trials would share a folder; one grid in 80 of 10,000
            raise ValueError("two points have keys that begin alike: change a value")
        return grid
    drawn_by = {"space": json.loads(tuning_json)["space"], "sampler": tuning.sampler, "seed": tuning.sampler_seed}
    file = memo / f"{digest_json({**drawn_by, 'task': task, 'points': tuning.points})}.json" if memo else None
    if file is not None and file.is_file():
        with suppress(ValueError, OSError, TypeError, KeyError):
            kept = json.loads(file.read_bytes())
            if len(kept) == tuning.points:
                # the file is canonical, so its keys are sorted; here they are as in the space, whoever drew the points
                return tuple({key: point[key] for key in tuning.space} for point in kept)
    points = _draw(tuning, int(digest_json({**drawn_by, "task": task})[:16], 16))
    if file is not None:
        with suppress(OSError):  # a folder that can't be written costs a second and a half, nothing else
            write_atomic(file, canonical_json(points))
    return tuple(points)


def _draw(tuning: Tuning, seed: int) -> list[Values]:
    """Points from the unit cube, each mapped to the space, without those that were drawn before."""
    points: dict[str, Values] = {}
    keys = sorted(tuning.space)  # which dimension of the cube is a key's must not depend on the order in the file
    count = 2 ** math.ceil(math.log2(tuning.points))  # a Sobol sequence is balanced at powers of two
    while count <= max(MOST_DRAWS, 4 * tuning.points):
        for position in _positions(tuning.sampler, count, len(tuning.space), seed):
            at = dict(zip(keys, position, strict=True))
            values = {key: _value(key, dimension, at[key]) for key, dimension in tuning.space.items()}
            points.setdefault(point_key(values), values)
            if len(points) == tuning.points:
                return list(points.values())
        count *= 2
    raise ValueError(f"the space has {len(points)} different points, fewer than the {tuning.points} trials")


def _positions(sampler: str, count: int, dimensions: int, seed: int) -> list[list[float]]:
    """`count` positions in the unit cube; the first ones do not depend on `count`."""
    if sampler == "random":
        generator = random.Random(seed)
        return [[generator.random() for _ in range(dimensions)] for _ in range(count)]
    # Imported here: see `memo`. Scrambled by a random linear matrix and a digital shift (Matousek 1998).
    from scipy.stats import qmc

    engine = qmc.Sobol(dimensions, scramble=True, bits=SOBOL_BITS, rng=seed)
    positions: list[list[float]] = engine.random(count).tolist()
    return positions


def _value(key: str, dimension: Dimension, position: float) -> object:
    """The value of the key at `position` in [0, 1)."""
    if dimension.values is not None:
        return dimension.values[min(int(position * len(dimension.values)), len(dimension.values) - 1)]
    lowest, highest = dimension.lowest or 0.0, dimension.highest or 0.0
    if dimension.scale == "log":
        value = lowest * (highest / lowest) ** position
    else:
        value = lowest + position * (highest - lowest)
    rounded = min(max(_rounded(value, dimension), lowest), highest)
    return round(rounded) if takes_whole_numbers(key) else rounded


def _rounded(value: float, dimension: Dimension) -> float:
    """`value` to three significant digits: of itself on a log scale, of the width of the range on a linear one."""
    if dimension.scale == "log":
        return float(f"{value:.{DIGITS}g}")
    width = (dimension.highest or 0.0) - (dimension.lowest or 0.0)
    return round(value, DIGITS - 1 - math.floor(math.log10(width)))
