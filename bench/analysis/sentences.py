"""The answer of a study in sentences, made from its verdicts: per pair and budget, on how many tasks who is better."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from bench.analysis.results import Results
from bench.analysis.stats.comparison import Comparison
from bench.analysis.verdicts import Outcome, Verdict
from bench.analysis.wording import difference_text, in_unit, listed, two_digits

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
    more = [*_sizes(results, of_pair), *_directions(of_pair)]
    return head + ", ".join(parts) + "".join(f"; {part}" for part in more) + "."


def _details(results: Results, outcome: Outcome, verdicts: Sequence[Verdict]) -> str:
    """The differences that are clear, in the unit of tables, or why there is no verdict."""
    if outcome is Outcome.UNJUDGED:
        reasons = Counter(verdict.obstacle for verdict in verdicts)
        return f" ({listed(list(reasons))})"
    if outcome is Outcome.UNDECIDED:
        return ""
    names = [
        f"{results.task_labels[verdict.contrast.task]} {_size(verdict.comparison)}"
        for verdict in verdicts
        if verdict.comparison
    ]
    return f" ({listed(names)})" if len(names) <= MAX_NAMES else ""


def _size(comparison: Comparison) -> str:
    """'+2.10', which is in points; '−0.42 in perplexity'."""
    facts, text = comparison.facts, difference_text(comparison.facts, comparison.difference)
    return text if facts.in_points and not facts.says_direction else f"{text} in {facts.name}"


def _directions(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """Of which metrics less is better."""
    compared = [verdict.comparison.facts for verdict in verdicts if verdict.comparison]
    names = dict.fromkeys(facts.name for facts in compared if facts.says_direction)
    if names:
        yield f"smaller is better in {listed(list(names))}"


def _sizes(results: Results, verdicts: Sequence[Verdict]) -> Iterator[str]:
    """What the study could find, or what it saw where it judges nothing."""
    judged = any(verdict.outcome is not Outcome.UNJUDGED for verdict in verdicts)
    for unit in dict.fromkeys(verdict.comparison.facts.unit for verdict in verdicts if verdict.comparison):
        of_unit = [v for v in verdicts if v.comparison and v.comparison.facts.unit == unit]
        labels = results.task_labels
        yield from _could_be_found(labels, of_unit) if judged else _was_seen(labels, of_unit)


def _could_be_found(labels: Mapping[str, str], verdicts: Sequence[Verdict]) -> Iterator[str]:
    """Of verdicts in metrics of one unit. `labels`: of the tasks."""
    judged = [(v, v.comparison) for v in verdicts if v.outcome is not Outcome.UNJUDGED and v.comparison]
    found = sorted(
        (comparison.facts.shown(size), labels[verdict.contrast.task])
        for verdict, comparison in judged
        if (size := comparison.detectable) is not None
    )
    if found:
        (low, easiest), (high, hardest) = found[0], found[-1]
        text = f"smallest difference this study could find: {in_unit(judged[0][1].facts, two_digits(low))}"
        yield f"{text} ({easiest})" if len(found) == 1 else f"{text} ({easiest}) to {two_digits(high)} ({hardest})"


def _was_seen(labels: Mapping[str, str], verdicts: Sequence[Verdict]) -> Iterator[str]:
    """Likewise."""
    facts = next(v.comparison.facts for v in verdicts if v.comparison)
    seen = [(v.comparison.difference, labels[v.contrast.task]) for v in verdicts if v.comparison]
    (low, lowest), (high, highest) = min(seen), max(seen)
    text = f"what was seen: {in_unit(facts, difference_text(facts, low))} ({lowest})"
    yield text if len(seen) == 1 else f"{text} to {difference_text(facts, high)} ({highest})"
