"""How often a printed interval holds the truth, and how often a table of equal methods has something bold.

    PYTHONPATH=tests uv run python benchmarks/coverage.py intervals
    PYTHONPATH=tests uv run python benchmarks/coverage.py tables --tries 200

The first prints the table of docs/results.md, "Coverage". Every random draw has a fixed seed.
"""

from __future__ import annotations

import argparse
import gc
import json
from collections.abc import Callable, Iterator

import numpy as np
from helpers.equal_methods import World, equal_answers
from helpers.results import StudyInMemory

from bench.analysis.stats.comparison import Contrast
from bench.analysis.stats.examples import spread_of_share
from bench.analysis.stats.limits import in_two_groups
from bench.analysis.stats.paired import Interval, paired_interval
from bench.analysis.tables.comparisons import comparison_table
from bench.analysis.tables.model import Table
from bench.analysis.tables.scores import Shown, score_table
from bench.config.resolve import load_study

SEEDS = (1, 2, 3, 5, 10)
METHODS = ("lora", "adalora", "dora", "rslora", "ia3", "lora_query", "lora_lower", "lora_upper")
TASKS = {"accuracy": "sst2", "mcc": "cola", "f1": "mrpc", "exact_match": "sst2_words", "no_label": "sst2_words"}
TASKS |= dict.fromkeys(("pearson", "spearman", "mean_correlation"), "stsb")
TASKS |= dict.fromkeys(("rouge1", "rouge2", "rougeL", "rougeLsum"), "cnn_dailymail")
BACKBONES = "{classification: minilm, regression: minilm, text-label: t5-small, summarization: tiny-bart}"
Tries = Iterator[tuple[Interval | None, float]]  # an interval and the true difference


def study_of(tasks: str, methods: int, seeds: int) -> StudyInMemory:
    overrides = [f"tasks=[{tasks}]", f"methods=[{', '.join(METHODS[:methods])}]", f"seeds={list(range(seeds))}"]
    overrides += [f"backbones={BACKBONES}", "grids=[{budgets: [small]}]"]
    return StudyInMemory(load_study("glue", overrides))


def of_metric(metric: str, rows: int) -> Callable[[int, int], Tries]:
    """Equal methods; seeds vary where there are several."""

    def tries(seeds: int, number: int) -> Tries:
        study = study_of(TASKS[metric], 2, seeds)
        world = World(rows=rows, luck=0.1 if seeds > 1 else 0.0)
        split = study.study.cells[0].task.primary_split
        for index in range(number):
            generator = np.random.default_rng([seeds, rows, index])
            comparer = study.comparer_of(equal_answers(study.study, world, generator))
            comparison = comparer.compare(Contrast(TASKS[metric], split, metric, "small", *METHODS[:2]))
            yield (comparison.interval if comparison else None), 0.0

    return tries


def few_discordant(first_only: float, second_only: float, rows: int) -> Callable[[int, int], Tries]:
    """Accuracy; these shares of examples are right in one method alone, the same examples for all seeds."""

    def tries(seeds: int, number: int) -> Tries:
        generator = np.random.default_rng([seeds, rows, int(1e4 * first_only), int(1e4 * second_only)])
        for _ in range(number):
            luck = generator.random((rows, 1))
            right = np.where(luck < second_only, 1.0, np.where(luck > 1 - first_only, -1.0, 0.0))
            differences = np.repeat(right, seeds, axis=1)
            yield (
                paired_interval(list(differences.mean(axis=0)), spread_of_share(differences)),
                second_only - first_only,
            )

    return tries


def collapsing(share: float, *, seen: bool = False, rows: int = 500) -> Callable[[int, int], Tries]:
    """Accuracy of 90%; a share of the second method's runs falls to 50%. `seen`: only studies in which that shows."""

    def tries(seeds: int, number: int) -> Tries:
        generator = np.random.default_rng([seeds, int(100 * share)])
        for _ in range(number if seeds > 1 else 0):  # the interval of one seed does not speak of other seeds
            quality = np.stack([np.full(seeds, 0.9), np.where(generator.random(seeds) < share, 0.5, 0.9)])
            quality += 0.01 * generator.normal(size=quality.shape)
            right = generator.random((rows, 2, seeds)) < quality
            differences = right[:, 1].astype(float) - right[:, 0]
            if seen and not in_two_groups(list(right[:, 1].mean(axis=0)), rows):
                continue
            yield paired_interval(list(differences.mean(axis=0)), spread_of_share(differences)), -0.4 * share

    return tries


SITUATIONS: dict[str, Callable[[int, int], Tries]] = {
    "accuracy, 0.5% of 200 examples discordant": few_discordant(0.0, 0.005, 200),
    "accuracy, 2% of 200 examples discordant": few_discordant(0.005, 0.015, 200),
    "accuracy, 90% of 30 examples discordant": few_discordant(0.0, 0.9, 30),
    **{
        f"{metric}, {rows} examples": of_metric(metric, rows)
        for metric in ("accuracy", "mcc", "f1", "pearson", "spearman", "rouge2", "no_label")
        for rows in (10, 100)
    },
    "accuracy, one method collapses in 5% of its runs": collapsing(0.05),
    "accuracy, one method collapses in 20% of its runs": collapsing(0.2),
    "the same, where the seeds show it": collapsing(0.2, seen=True),
}


def coverage(tries: Tries) -> tuple[float, int]:
    """The share of printed intervals that hold the truth, and how many are printed."""
    known = [(interval, truth) for interval, truth in tries if interval is not None]
    held = sum(interval.low - 1e-12 <= truth <= interval.high + 1e-12 for interval, truth in known)
    return held / max(1, len(known)), len(known)


def print_intervals(number: int, wanted: str) -> None:
    print(f"| situation | {' | '.join(f'n = {seeds}' for seeds in SEEDS)} |")
    print(f"|---|{'---:|' * len(SEEDS)}")
    for name, situation in SITUATIONS.items():
        if wanted not in name:
            continue
        texts = []
        for seeds in SEEDS:
            rate, printed = coverage(situation(seeds, number))
            text = f"{100 * rate:.0f}%" if printed else "none"
            texts.append(text + (f" ({100 * printed / number:.0f}%)" if 0 < printed < number else ""))
        print(f"| {name} | {' | '.join(texts)} |", flush=True)


def has_bold(table: Table) -> bool:
    return any(entry.bold for row in table.rows for entry in row)


def print_tables(number: int, tasks: str, worlds: dict[str, World]) -> None:
    for methods, seeds in ((2, 3), (2, 5), (2, 10), (4, 4), (8, 3)):
        study = study_of(tasks, methods, seeds)
        for name, world in worlds.items():
            scores = pairs = 0
            for index in range(number):
                generator = np.random.default_rng([methods, seeds, index])
                comparer = study.comparer_of(equal_answers(study.study, world, generator))
                shown = Shown("t", "t", METHODS[:methods]), Shown("t", "t", METHODS[:methods], "other")
                made = [table for each in shown if (table := score_table(comparer, each))]
                scores += any(map(has_bold, made))
                pairs += has_bold(comparison_table(comparer))
            fields = {"tasks": tasks, "methods": methods, "seeds": seeds, "world": name, "tables": number}
            print(
                json.dumps({**fields, "bold_scores": scores / number, "bold_comparisons": pairs / number}), flush=True
            )


WORLDS = {
    "10 rows": World(rows=10),
    "60 rows": World(rows=60),
    "60 rows, seeds dominate": World(rows=60, luck=0.5, taste=0.0),
    "60 rows, examples dominate": World(rows=60, luck=0.0, taste=1.5),
    "60 rows, collapses": World(rows=60, luck=0.02, collapse=0.2),
    "60 rows, lost cells and other rows": World(rows=60, lost=0.03, odd=0.03),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["intervals", "tables"])
    parser.add_argument("--tries", type=int, default=1000, help="simulated data sets per number")
    parser.add_argument("--only", default="", help="situations with this text in their name; or tasks: cola,stsb")
    options = parser.parse_args()
    gc.freeze()  # statsmodels collects garbage at each correction: keep what is loaded by now out of it
    if options.what == "intervals":
        print_intervals(options.tries, options.only)
    else:
        for tasks in [options.only] if options.only else dict.fromkeys(TASKS.values()):
            print_tables(options.tries, tasks, WORLDS)


if __name__ == "__main__":
    main()
