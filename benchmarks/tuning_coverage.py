"""How often the bands of tuning curves hold, by simulation, and how often equal methods are told apart.

    uv run python benchmarks/tuning_coverage.py              # two tables
    uv run python benchmarks/tuning_coverage.py --tries 200

First table: the share of studies in which the 95% band of a method's n trials holds the median of the best of k for all
k = 1..n at once, where points are drawn as a study draws them. In rows of `sobol` the first number is for the median of
random search, which the bands are made for, the second for that of the first k points of such a sequence.

Second table: the share of studies of two methods, tried at the same points, in which a lead is claimed at any k. The
surface of the second is that of the first, mirrored. Between equal methods each claim is a false one. The first number
is for random points, the second for those of Sobol sequences. Every random draw has a fixed seed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray

from bench.analysis.stats.tuning_curves import TuningCurve, tuning_curves
from bench.analysis.stats.tuning_leads import leads
from bench.config.points import points_of
from bench.config.score_ranges import SHARE
from bench.config.tuning import Tuning

Floats = NDArray[np.float64]
Surface = Callable[[Floats, np.random.Generator], Floats]  # points in the unit square (... x 2), noise -> scores (...)

TRIALS = (4, 6, 8, 16, 32)
SAMPLERS = ("random", "sobol")
MANY = 400_000
SEQUENCES = 4000  # whose first k points give the median of a Sobol sequence; none of them is among the studies
LOWEST, HIGHEST = 1e-5, 1e-2  # of the learning rate; the other key is the weight decay, from 0 to 0.1


def smooth(points: Floats, _generator: np.random.Generator) -> Floats:
    """A wide peak along both keys."""
    return np.asarray(0.9 - 0.8 * (points[..., 0] - 0.6) ** 2 - 0.1 * (points[..., 1] - 0.5) ** 2)


def narrow(points: Floats, _generator: np.random.Generator) -> Floats:
    """A peak that a tenth of the points reach; elsewhere little better than chance."""
    return np.asarray(0.5 + 0.01 * points[..., 1] + 0.4 * np.exp(-(((points[..., 0] - 0.6) / 0.05) ** 2)))


def cliff(points: Floats, generator: np.random.Generator) -> Floats:
    """Better up to a learning rate beyond which trainings diverge, and so do some below it."""
    diverged = (points[..., 0] > 0.7) | (generator.random(points.shape[:-1]) < 0.1)
    return np.where(diverged, 0.0, 0.6 + 0.4 * points[..., 0])


def ties(points: Floats, generator: np.random.Generator) -> Floats:
    """Shares of 20 rows."""
    return np.asarray(np.round(20 * smooth(points, generator)) / 20)


def noise(points: Floats, generator: np.random.Generator) -> Floats:
    """The tuned keys do not matter, the luck of a trial does."""
    return np.asarray((0.8 + 0.02 * generator.normal(size=points.shape[:-1])).clip(0, 1))


SURFACES: dict[str, Surface] = {
    "smooth peak": smooth,
    "narrow peak": narrow,
    "cliff, diverged trials": cliff,
    "ties, 20 rows": ties,
    "noise alone": noise,
}


@cache
def drawn(sampler: str, tries: int, first_seed: int = 0) -> Floats:
    """tries x 32 x 2: points as `points_of` draws them, in the unit square; the first n are those of n trials."""
    space = {
        "learning_rate": {"from": LOWEST, "to": HIGHEST, "scale": "log"},
        "weight_decay": {"from": 0.0, "to": 0.1},
    }
    points = [
        points_of(
            Tuning.model_validate({"space": space, "trials": max(TRIALS), "sampler": sampler, "sampler_seed": seed}),
            "task",
        )
        for seed in range(first_seed, first_seed + tries)
    ]
    values = np.array([[[point["learning_rate"], point["weight_decay"]] for point in of_study] for of_study in points])
    values[..., 0] = np.log(values[..., 0] / LOWEST) / np.log(HIGHEST / LOWEST)
    values[..., 1] *= 10
    return values


def medians_of_random_search(surface: Surface) -> Floats:
    """The median of the best of k, for k = 1..32, from the distribution of many scores."""
    generator = np.random.default_rng(1)
    scores = surface(generator.random((MANY, 2)), generator)
    quantiles = 0.5 ** (1 / np.arange(1, max(TRIALS) + 1))
    return np.asarray(np.quantile(scores, quantiles, method="inverted_cdf"))


def medians_of_sobol(surface: Surface) -> Floats:
    """The median over sequences of the best of their first k points, for k = 1..32."""
    scores = surface(drawn("sobol", SEQUENCES, first_seed=10**6), np.random.default_rng(4))
    return np.asarray(np.quantile(np.maximum.accumulate(scores, axis=1), 0.5, axis=0, method="inverted_cdf"))


def holds(curve: TuningCurve, truth: Floats) -> bool:
    medians = truth[: curve.trials]
    return bool((np.array(curve.low) <= medians).all() and (medians <= np.array(curve.high)).all())


def coverage(surface: Surface, sampler: str, tries: int) -> Iterator[str]:
    """By number of trials: how often the band holds, in percent."""
    scores = surface(drawn(sampler, tries), np.random.default_rng(2))
    truths = [medians_of_random_search(surface)]
    if sampler == "sobol":
        truths.append(medians_of_sobol(surface))
    for trials in TRIALS:
        curves = [tuning_curves({"lora": of_study[:trials].tolist()}, SHARE)["lora"] for of_study in scores]
        rates = [np.mean([holds(curve, truth) for curve in curves]) for truth in truths]
        yield " / ".join(f"{100 * rate:.1f}" for rate in rates)


def claims(surface: Surface, gain: float, tries: int) -> Iterator[str]:
    """By number of trials: how often a lead is claimed between two methods, in percent, by sampler.

    The second is better by `gain` at every point at which a training does not diverge.
    """
    pairs = []
    for sampler in SAMPLERS:
        points, generator = drawn(sampler, tries), np.random.default_rng(3)
        first, second = surface(points, generator), surface(1 - points, generator)
        pairs.append((first, np.where(second > 0, (second + gain).clip(0, 1), second)))
    for trials in TRIALS:
        yield " / ".join(f"{100 * claim_rate(first[:, :trials], second[:, :trials]):.1f}" for first, second in pairs)


def claim_rate(first: Floats, second: Floats) -> float:
    """The share of studies in which there is a lead; scores are studies x trials."""
    claimed = 0
    for pair in zip(first.tolist(), second.tolist(), strict=True):
        curves = tuning_curves(dict(zip(("first", "second"), pair, strict=True)), SHARE)
        claimed += bool(leads(curves["first"], curves["second"]))
    return claimed / len(first)


def print_table(title: str, rows: Iterator[tuple[str, Iterator[str]]]) -> None:
    print(f"| {title} | {' | '.join(f'n = {trials}' for trials in TRIALS)} |")
    print(f"|---|{'---:|' * len(TRIALS)}")
    for name, cells in rows:
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=1000, help="simulated studies per number")
    tries = parser.parse_args().tries
    print_table(
        "the band holds, in %",
        (
            (f"{name}, {sampler}", coverage(surface, sampler, tries))
            for name, surface in SURFACES.items()
            for sampler in SAMPLERS
        ),
    )
    print_table(
        "a lead is claimed, in %",
        (
            (f"{name}, {f'second better by {gain:g}' if gain else 'equal'}", claims(surface, gain, tries))
            for name, surface in SURFACES.items()
            for gain in (0.0, 0.05)
        ),
    )


if __name__ == "__main__":
    main()
