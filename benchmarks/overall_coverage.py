"""How often the intervals of the table `overall` cover the truth, by simulation; takes about a minute.

    uv run python benchmarks/overall_coverage.py            # the table of docs/results.md
    uv run python benchmarks/overall_coverage.py --json

Each number is the lowest coverage over 2, 3, 5 and 8 tasks, in percent, of the intervals that the table prints. The
truth is that of 200,000 runs. The interval of P is simulated for two equal methods and for one that is better by 1 or 3
points, and the lowest coverage counts.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from bench.analysis.stats.overall import (
    RUNS_FOR_IQM,
    ZERO_WIDTH,
    improvement_bounds,
    iqm,
    iqm_bounds,
    pairs_of_runs,
    probability_of_improvement,
)

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int, tuple[int, ...]], Floats]  # generator, task, shape -> scores in points

STUDIES, TRUTH = 4000, 200_000
TASKS, RUNS = (2, 3, 5, 8), (2, 3, 4, 5, 7, 10)
SHIFTS = (0.0, 1.0, 3.0)  # of the better method, in points
SPREADS = (0.1, 1.0, 3.0, 0.3, 2.0, 0.5, 5.0, 0.2)  # by task
COLLAPSED = 50.0


def normal(generator: np.random.Generator, task: int, shape: tuple[int, ...]) -> Floats:
    return generator.normal(60 + 5 * task, 1, shape)


def unequal(generator: np.random.Generator, task: int, shape: tuple[int, ...]) -> Floats:
    return generator.normal(60 + 5 * task, SPREADS[task], shape)


def heavy(generator: np.random.Generator, task: int, shape: tuple[int, ...]) -> Floats:
    return 60 + 5 * task + generator.standard_t(3, shape)


def skewed(generator: np.random.Generator, task: int, shape: tuple[int, ...]) -> Floats:
    return 60 + 5 * task - generator.gamma(1, 1, shape)


def ties(generator: np.random.Generator, task: int, shape: tuple[int, ...]) -> Floats:
    """Accuracies on 200 rows, in steps of half a point; the spread is less than a step on some tasks."""
    return np.round(2 * generator.normal(60.1 + 5 * task, min(1.0, SPREADS[task] + 0.2), shape)) / 2


def collapsing(rate: float, tasks: int = 8) -> Draw:
    """On the first `tasks` tasks, each run ends at 50 points with this probability instead of at 80 or more."""

    def draw(generator: np.random.Generator, task: int, shape: tuple[int, ...]) -> Floats:
        collapsed = (generator.random(shape) < rate) & (task < tasks)
        return np.where(collapsed, COLLAPSED, generator.normal(80 + 2 * task, 1, shape))

    return draw


SCENARIOS: dict[str, Draw] = {
    "normal, equal spreads": normal,
    "normal, sd 0.1 to 5 by task": unequal,
    "heavy tails (t, 3 degrees of freedom)": heavy,
    "skewed (exponential)": skewed,
    "ties": ties,
    "5% of runs collapse": collapsing(0.05),
    "10% of runs collapse": collapsing(0.1),
    "20% of runs collapse": collapsing(0.2),
    "20% collapse on one task": collapsing(0.2, tasks=1),
    "30% of runs collapse": collapsing(0.3),
    "50% of runs collapse": collapsing(0.5),
    "30% collapse on one task": collapsing(0.3, tasks=1),
}


@cache
def true_iqm(draw: Draw, task: int) -> float:
    return float(iqm([draw(np.random.default_rng(task), task, (TRUTH,))]))


@cache
def true_improvement(draw: Draw, task: int, shift: float) -> float:
    """Over 200,000 pairs of runs."""
    better, first = (draw(np.random.default_rng([task, side]), task, (TRUTH,)) for side in (0, 1))
    difference = better + shift - first
    return float((difference > 0).mean() + 0.5 * (difference == 0).mean())


def iqm_coverage(draw: Draw, runs: Sequence[int], generator: np.random.Generator) -> float:
    """The share of studies whose printed interval covers; `runs` holds the number of runs of each task."""
    truth = float(np.mean([true_iqm(draw, task) for task in range(len(runs))]))
    low, high = iqm_bounds([draw(generator, task, (STUDIES, number)) for task, number in enumerate(runs)])
    printed = high - low > ZERO_WIDTH
    return float(((low <= truth) & (truth <= high))[printed].mean())


def improvement_coverage(draw: Draw, runs: Sequence[int], shift: float, generator: np.random.Generator) -> float:
    """The same of P, for a method that is better than the first by `shift` points."""
    truth = float(np.mean([true_improvement(draw, task, shift) for task in range(len(runs))]))
    better, first = (
        [draw(generator, task, (STUDIES, number)) for task, number in enumerate(runs)] for _method in range(2)
    )
    better = [scores + shift for scores in better]
    low, high = improvement_bounds(probability_of_improvement(better, first), pairs_of_runs(better, first))
    return float(((low <= truth) & (truth <= high)).mean())


def lowest(draw: Draw, studies: Sequence[Sequence[int]], generator: np.random.Generator) -> tuple[float | None, float]:
    """The lowest coverage of IQM (None where none is printed) and of P over studies with so many runs of each task."""
    printed = min(map(min, studies)) >= RUNS_FOR_IQM
    return (
        min(iqm_coverage(draw, runs, generator) for runs in studies) if printed else None,
        min(improvement_coverage(draw, runs, shift, generator) for runs in studies for shift in SHIFTS),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    as_json = parser.parse_args().json
    generator = np.random.default_rng(0)
    columns: dict[str, list[list[int]]] = {f"n = {number}": [[number] * tasks for tasks in TASKS] for number in RUNS}
    columns["n = 4 to 12 by task"] = [[4, 12], [5, 4, 12], [12, 9, 7, 5, 4]]  # as where some runs failed
    results = {
        name: [lowest(draw, studies, generator) for studies in columns.values()] for name, draw in SCENARIOS.items()
    }
    if as_json:
        print(json.dumps({name: dict(zip(columns, numbers, strict=True)) for name, numbers in results.items()}))
        return
    print(f"| lowest coverage in %, IQM / P | {' | '.join(columns)} |")
    print(f"|---|{'---|' * len(columns)}")
    for name, numbers in results.items():
        texts = [f"{'—' if one is None else f'{100 * one:.0f}'} / {100 * other:.0f}" for one, other in numbers]
        print(f"| {name} | {' | '.join(texts)} |")


if __name__ == "__main__":
    main()
