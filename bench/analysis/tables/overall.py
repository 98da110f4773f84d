"""Over tasks: interquartile mean and probability of improvement, with a bootstrap stratified by task.

Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice": section 4.3 and appendix.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from statistics import mean

import numpy as np
from numpy.typing import NDArray

from bench.analysis.footnotes import footnotes
from bench.analysis.results import Results, values
from bench.analysis.tables.model import DASH, Column, Entry, Table, count, number, words
from bench.analysis.wording import budget_text

Floats = NDArray[np.float64]
DRAWS = 2000
SEED = 20230310
COLUMNS = (
    Column("budget", head=True), Column("method", head=True), Column("tasks"), Column("mean"), Column("IQM"),
    Column("IQM [95%]"), Column("P(better than the first)"), Column("P [95%]"),
)  # fmt: skip


def iqm(scores: Sequence[Floats]) -> float:
    """Mean of the middle half of all runs of all tasks; scores: one array of runs a task."""
    return float(_middle(np.concatenate(scores)[None, :])[0])


def probability_of_improvement(first: Sequence[Floats], second: Sequence[Floats]) -> float:
    """P(a run of `first` beats one of `second`), ties half, mean over tasks."""
    return float(np.mean([_beats(a[None, :], b[None, :])[0] for a, b in zip(first, second, strict=True)]))


def overall_table(results: Results) -> Table | None:
    """A row for each budget and method, over the tasks that every method finished; None where there is only one."""
    rows: list[tuple[Entry, ...]] = []
    left_out: list[str] = []
    for budget in results.budgets:
        methods = results.planned(budget)
        scores = {
            task.name: [
                _runs(results, task.name, method, budget, task.primary_split, task.metric) for method in methods
            ]
            for task in results.tasks.values()
        }
        used = [task for task, runs in scores.items() if all(len(r) for r in runs)]
        left_out += [f"{task} ({budget})" for task in scores if task not in used]
        name = budget_text(budget, results.study.study.budgets[budget])
        for index, method in enumerate(methods):
            heads = (words(name), words(results.labels[method]), count(len(used)))
            if len(used) < 2:
                rows.append((*heads, *[words(DASH)] * 5))
                continue
            own, first = [scores[task][index] for task in used], [scores[task][0] for task in used]
            rows.append(
                (*heads, number(mean(float(runs.mean()) for runs in own)), *_measured(own, first, index, budget))
            )
    if len(results.tasks) < 2:
        return None
    notes = [
        "Points of each task's own metric: MCC, accuracy and ROUGE are not one quantity, so compare methods on one set "
        "of tasks only. IQM: mean of the middle half of all runs. P: a run of the method beats one of the first "
        "method on the same task, mean over tasks. Intervals: percentiles of 2,000 resamples of runs within tasks.",
    ]
    notes += [f"Left out, since a method has no score: {', '.join(left_out)}."] if left_out else []
    return Table("overall", "Over tasks: points (fraction × 100)", COLUMNS, tuple(rows), (*notes, *footnotes(results)))


def _measured(own: Sequence[Floats], first: Sequence[Floats], index: int, budget: str) -> tuple[Entry, ...]:
    """IQM and P with their intervals; a dash for an interval where a task that it needs has one run."""
    enough, alone = (min(len(runs) for runs in needed) > 1 for needed in ((*own, *first), own))
    drawn, against = _resampled(own, f"{budget}/{index}"), _resampled(first, f"{budget}/first")
    middle = _middle(np.concatenate(drawn, axis=1))
    better = np.mean([_beats(a, b) for a, b in zip(drawn, against, strict=True)], axis=0)
    of_own = number(iqm(own)), _interval(middle) if alone else words(DASH)
    if index == 0:
        return (*of_own, words(DASH), words(DASH))
    return (*of_own, number(probability_of_improvement(own, first)), _interval(better) if enough else words(DASH))


def _runs(results: Results, task: str, method: str, budget: str, split: str, metric: str) -> Floats:
    return 100 * np.array(values(results.of(task, method, budget), split, metric))


def _resampled(scores: Sequence[Floats], name: str) -> list[Floats]:
    """draws x runs for each task; which seed made which run decides nothing."""
    generator = np.random.default_rng([SEED, zlib.crc32(name.encode())])
    return [np.sort(runs)[generator.integers(0, len(runs), size=(DRAWS, len(runs)))] for runs in scores]


def _middle(scores: Floats) -> Floats:
    """Interquartile mean along the last axis: a quarter of the numbers, rounded down, is cut at each end."""
    cut = scores.shape[1] // 4
    return np.asarray(np.sort(scores, axis=1)[:, cut : scores.shape[1] - cut].mean(axis=1))


def _beats(first: Floats, second: Floats) -> Floats:
    difference = first[:, :, None] - second[:, None, :]
    return np.asarray(((difference > 0) + 0.5 * (difference == 0)).mean(axis=(1, 2)))


def _interval(drawn: Floats) -> Entry:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return words(f"[{low:.2f}, {high:.2f}]".replace("-", "−"))
