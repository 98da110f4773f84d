"""The answer of a study in sentences, made from its verdicts: per pair and budget, on how many tasks who is better."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from bench.analysis.results import Results
from bench.analysis.verdicts import Outcome, Verdict
from bench.analysis.wording import listed, points_text, two_digits

MAX_NAMES = 4  # tasks that a sentence names
NOTHING = "No two methods of this study differ in one thing alone, so none are compared."


def answer_sentences(results: Results, found: Sequence[Verdict]) -> list[str]:
    """One sentence per pair of methods and budget, in the order of the verdicts."""
    groups: dict[tuple[str, str, str], list[Verdict]] = {}
    for verdict in found:
        contrast = verdict.contrast
        groups.setdefault((contrast.first, contrast.second, contrast.budget), []).append(verdict)
    order = {budget: number for number, budget in enumerate(results.budgets)}
    pairs = list(dict.fromkeys(pair[:2] for pair in groups))
    ordered = sorted(groups, key=lambda group: (pairs.index(group[:2]), order[group[2]]))
    return [_sentence(results, groups[group]) for group in ordered] or [NOTHING]


def _sentence(results: Results, of_pair: Sequence[Verdict]) -> str:
    """'AdaLoRA against LoRA, small budget: better on 1 of 5 tasks (CoLA +2.10), not told apart on 4; ...'."""
    contrast = of_pair[0].contrast
    head = f"{results.labels[contrast.second]} against {results.labels[contrast.first]}, {contrast.budget} budget: "
    of_all = f" of {len(of_pair)} task{'s' if len(of_pair) > 1 else ''}"
    parts = []
    for outcome in Outcome:
        verdicts = [verdict for verdict in of_pair if verdict.outcome is outcome]
        if verdicts:
            parts.append(f"{outcome.value} on {len(verdicts)}{of_all}{_details(results, outcome, verdicts)}")
            of_all = ""
    return head + ", ".join(parts) + "".join(f"; {part}" for part in _sizes(results, of_pair)) + "."


def _details(results: Results, outcome: Outcome, verdicts: Sequence[Verdict]) -> str:
    """The differences that are clear, in points, or why there is no verdict."""
    if outcome is Outcome.UNJUDGED:
        reasons = Counter(verdict.obstacle for verdict in verdicts)
        return f" ({listed(list(reasons))})"
    if outcome is Outcome.UNDECIDED:
        return ""
    names = [
        f"{results.task_labels[verdict.contrast.task]} {points_text(verdict.comparison.difference)}"
        for verdict in verdicts
        if verdict.comparison
    ]
    return f" ({listed(names)})" if len(names) <= MAX_NAMES else ""


def _sizes(results: Results, verdicts: Sequence[Verdict]) -> Iterator[str]:
    """What the study could find, or what it saw where it judges nothing."""
    judged = [verdict for verdict in verdicts if verdict.outcome is not Outcome.UNJUDGED and verdict.comparison]
    found = sorted(
        (100 * size, results.task_labels[verdict.contrast.task])
        for verdict in judged
        if verdict.comparison and (size := verdict.comparison.detectable) is not None
    )
    if found:
        (low, easiest), (high, hardest) = found[0], found[-1]
        text = f"smallest difference this study could find: {two_digits(low)} points"
        yield f"{text} ({easiest})" if len(found) == 1 else f"{text} ({easiest}) to {two_digits(high)} ({hardest})"
    seen = [(v.comparison.difference, results.task_labels[v.contrast.task]) for v in verdicts if v.comparison]
    if seen and not judged:
        (low, lowest), (high, highest) = min(seen), max(seen)
        text = f"what was seen: {points_text(low)} points ({lowest})"
        yield text if len(seen) == 1 else f"{text} to {points_text(high)} ({highest})"
