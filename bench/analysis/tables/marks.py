"""Which score of a row is bold, which are marked as ties, and in which rows there is too little to say either.

A mean is bold only if it is better than every other method of its row: each paired difference has a 95% interval
without zero over three seeds or more, and the row's p stays below 5% after Holm's correction over all rows and budgets
of the table. A row claims all of its comparisons at once, so its p is the largest of theirs. Methods that cannot be
told apart from the best are marked as ties. A row in which a seed is missing, failed or without a score claims nothing,
since a mean over survivors is no win.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from bench.analysis.published import Place
from bench.analysis.results import Results
from bench.analysis.stats.comparison import MIN_SEEDS_TO_CLAIM, Comparer, Comparison, Contrast
from bench.analysis.stats.paired import holm
from bench.analysis.tables.model import Entry
from bench.analysis.verdicts import ALPHA
from bench.analysis.wording import TIE
from bench.config.metric_facts import MetricFacts

BOLD = (
    "Bold: the 95% interval of the paired difference (seeds × examples) to every other method excludes zero and "
    "p < 0.05 after Holm over the table."
)
TIES = f" {TIE}: not told apart from the best. Neither: too little to say."
ONE_SEED = (
    "n = 1: one seed has no spread, so nothing is bold; intervals hold for these trained models alone, "
    "not for the methods."
)
SEEDS_LACK = "a seed is missing, failed or without a score, and a mean over survivors is no win"
FEW_SEEDS = f"fewer than {MIN_SEEDS_TO_CLAIM} paired seeds"
MAX_ROWS = 8  # that a footnote names
Entries = dict[tuple[Place, str], Entry]  # by place and method


@dataclass(frozen=True)
class Ranking:
    """The methods of one row at one budget, best mean first, and the best compared with each of the others."""

    place: Place
    methods: list[str]
    comparisons: list[Comparison]
    obstacle: str = ""  # in words, why the row claims nothing

    @property
    def p(self) -> float | None:
        """The p of the claim that the first method beats all others; None where the row claims nothing."""
        p_values = [c.claim_p for c in self.comparisons if c.claim_p is not None]
        return None if self.obstacle else max(p_values, default=None)


def mark_best(
    comparer: Comparer, places: Sequence[Place], methods: Sequence[str], entries: Entries, *, ties: bool = True
) -> list[str]:
    """At each place make the best entry bold, or, with `ties`, mark the ties; return notes on the marks."""
    rankings = [ranking for place in places if (ranking := _rank(comparer, place, methods, entries))]
    adjusted = holm([ranking.p for ranking in rankings])
    for ranking, p in zip(rankings, adjusted, strict=True):
        if ranking.obstacle or any(c.clear and c.facts.sign * c.difference < 0 for c in ranking.comparisons):
            continue
        best = (ranking.place, ranking.methods[0])
        if p is not None and p < ALPHA and all(c.clear for c in ranking.comparisons):
            entries[best] = replace(entries[best], bold=True)
            continue
        # A method that is clearly worse than the best is not tied, even in a row without a bold entry.
        tied = [method for method, c in zip(ranking.methods[1:], ranking.comparisons, strict=True) if not c.clear]
        if ties and tied:
            for method in (ranking.methods[0], *tied):
                entries[ranking.place, method] = replace(entries[ranking.place, method], tie=True)
    return _notes(comparer, comparer.results.restricted_to(methods), rankings, BOLD + TIES * ties)


def facts_at(results: Results, place: Place) -> MetricFacts:
    """Of the metric of a place."""
    return results.tasks[place[0]].metric_facts(place[1])


def contrast_at(place: Place, first: str, second: str) -> Contrast:
    task, metric, split, budget = place
    return Contrast(task, split, metric, budget, first, second)


def exact_note(comparer: Comparer, methods: Collection[str]) -> list[str]:
    """Which of the methods must pass the exact sign-flip test before anything of them is bold."""
    labels = [label for method, label in comparer.results.labels.items() if method in comparer.in_groups & set(methods)]
    if not labels:
        return []
    return [
        "Bold takes p < 0.05 by exact sign flips, too, for methods whose seeds fall into two groups somewhere in the "
        f"study, as where runs collapse: {', '.join(labels)}. Their other intervals can't know of collapses not seen."
    ]


def _rank(comparer: Comparer, place: Place, methods: Sequence[str], entries: Entries) -> Ranking | None:
    """None if fewer than two methods have a score."""
    means = {method: entries[place, method].value for method in methods}
    sign = facts_at(comparer.results, place).sign
    scores = {method: sign * value for method, value in means.items() if value is not None}
    ranked = sorted(scores, key=lambda method: -scores[method])
    if len(ranked) < 2:
        return None
    task, _, _, budget = place
    planned = {method: comparer.results.seeds_planned(task, method, budget) for method in methods}
    if any(seeds and entries[place, method].n != seeds for method, seeds in planned.items()):
        return Ranking(place, ranked, [], SEEDS_LACK)
    compared = [comparer.compare(contrast_at(place, other, ranked[0])) for other in ranked[1:]]
    return Ranking(place, ranked, [c for c in compared if c], _obstacle(compared))


def _obstacle(comparisons: Sequence[Comparison | None]) -> str:
    if any(c is None or not c.complete for c in comparisons):  # two grids of a study can ask for different seeds
        return SEEDS_LACK
    if any(c and c.missing for c in comparisons):
        return next(c.missing.value for c in comparisons if c and c.missing)
    return FEW_SEEDS if any(c and not c.decidable for c in comparisons) else ""


def _notes(comparer: Comparer, results: Results, rankings: Sequence[Ranking], bold: str) -> list[str]:
    if max((results.seeds_planned(*group) for group in results.groups), default=0) < 2:
        return [ONE_SEED]
    notes = [bold] if any(not ranking.obstacle for ranking in rankings) else []
    notes += exact_note(comparer, results.labels)
    for obstacle in dict.fromkeys(ranking.obstacle for ranking in rankings if ranking.obstacle):
        rows = [_row_name(results, ranking.place) for ranking in rankings if ranking.obstacle == obstacle]
        where = "; ".join(rows) if len(rows) <= MAX_ROWS else f"{len(rows)} of {len(rankings)} rows and budgets"
        notes.append(f"Nothing bold, {obstacle}: {where}.")
    return notes


def _row_name(results: Results, place: Place) -> str:
    task, _, split, budget = place
    return f"{results.task_labels[task]} {facts_at(results, place).label} on {split}, {budget}"
