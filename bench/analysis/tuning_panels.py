"""The tuning curves of the methods of one task and budget, and what they show of each pair, or why there are none."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from math import inf

from bench.analysis.results import Results
from bench.analysis.stats.fewer_trials import MOST_POINTS, shares_ahead
from bench.analysis.stats.tuning_curves import TuningCurve, tuning_curves
from bench.analysis.stats.tuning_leads import lead_sentence, leads
from bench.analysis.tuning_results import GroupTuning, TuningResults

GRID = "all points of a grid were tried, so they are no sample of what more trials would find"
HALVING = "successive halving stopped trials early, so their scores are of different steps"
AHEAD = (
    "Ahead with k trials: the band around the median held-out score of the best of k trials is better than the other "
    "method's. The bands of a task and budget hold together, for all pairs and all k. They are about held-out scores, "
    "not about what is reported."
)
SOBOL = " The points are those of a Sobol sequence, the bands those of random search with as many trials."
MAX_SENTENCES = 24
TAKEN_OVER = "the values were taken over, and the trials are those of another study"


def without_curves(tuning: TuningResults) -> str | None:
    """Why the study has no tuning curves, in words; None if it may have some."""
    if tuning.tuning is None:
        return TAKEN_OVER
    if tuning.tuning.grid_size is not None:
        return GRID
    return HALVING if tuning.tuning.halving is not None else None


def curves_of(tuning: TuningResults, panel: Mapping[str, GroupTuning]) -> dict[str, TuningCurve]:
    """The curves of one panel (`TuningResults.panel`), by method; their bands hold together.

    A method without a point of which every trial is recorded has no curve. Empty where `without_curves` says why.
    """
    if without_curves(tuning):
        return {}
    scores = {method: [p.score for p in group.points if p.complete] for method, group in panel.items()}
    scores = {method: of_method for method, of_method in scores.items() if of_method}
    return tuning_curves(scores, next(iter(panel.values())).facts.range) if scores else {}


def lead_sentences(results: Results) -> list[str]:
    """What is said per task, budget and pair of methods, in the study's order.

    What the bands show, and what fewer of the same points would have shown; of a grid the latter alone.
    """
    return [sentence for panel in results.tuning.panels for _, sentence in _sentences(results, panel)]


def count_sentence(results: Results, panel: tuple[str, str], pair: tuple[str, str]) -> str:
    """How often the second method of a pair would have been ahead after fewer of the same points, as one sentence.

    Empty for trials of different steps, for points of which some are not recorded, and for values that were taken over.
    """
    tuning = results.tuning
    groups = [tuning.panel(*panel).get(method) for method in pair]
    if tuning.tuning is None or tuning.tuning.halving is not None:
        return ""
    scores = []
    for group in groups:
        if group is None or not group.complete or not 2 <= len(group.points) <= MOST_POINTS:
            return ""
        scores.append([-inf if point.score is None else group.facts.sign * point.score for point in group.points])
    shares = [100 * behind for _, behind in shares_ahead(scores[0], scores[1])]
    n = len(shares)
    shown = sorted({k for k in (1, 2, 4, 8, 16, 32, 64, 128) if k < n} | {n})
    parts = ", ".join(f"{shares[k - 1]:.0f}% (k = {k})" for k in shown)
    first, second = (results.labels[method] for method in pair)
    return f"With k of these {n} points {second} would have been ahead of {first} in {parts} of all choices."


def pair_notes(results: Results) -> list[str]:
    """What `lead_sentences` say, short enough for footnotes, and what they rest on; or why there are none.

    Several pairs of a task and budget of which neither method is shown to be ahead are one footnote. Of a large study
    the first leads alone are named.
    """
    tuning = results.tuning
    reason = without_curves(tuning)
    if reason is not None:
        return [f"Whether a method is ahead after so many trials is not said: {reason}."]
    named, open_pairs = [], []
    for panel in tuning.panels:
        sentences = _sentences(results, panel)
        named += [sentence for is_lead, sentence in sentences if is_lead]
        undecided = [sentence for is_lead, sentence in sentences if not is_lead]
        if len(undecided) > 1:
            of_all = f"{len(undecided)} of {len(sentences)} pairs" if len(undecided) < len(sentences) else "every pair"
            name = _panel_text(results, panel)
            undecided = [f"{name}: for {of_all} neither method is shown to be ahead (the page says of each)."]
        open_pairs += undecided
    if not named and not open_pairs:
        return []
    if len(named) > MAX_SENTENCES:
        named = [*named[:MAX_SENTENCES], f"{len(named) - MAX_SENTENCES} more pairs with a lead are on the page."]
    sobol = tuning.tuning is not None and tuning.tuning.sampler == "sobol"
    return [AHEAD + (SOBOL if sobol else ""), *named, *open_pairs]


def _sentences(results: Results, panel: tuple[str, str]) -> list[tuple[bool, str]]:
    """For each pair of methods of a task and budget, whether one leads, and what is said of it."""
    tuning, labels = results.tuning, results.labels
    curves = curves_of(tuning, tuning.panel(*panel))
    sentences = []
    for first, second in combinations(curves or tuning.panel(*panel), 2):
        parts = [count_sentence(results, panel, (first, second))]
        if curves:
            parts.insert(0, lead_sentence(labels[first], curves[first], labels[second], curves[second]))
        is_lead = bool(curves) and bool(leads(curves[first], curves[second]))
        if any(parts):
            sentences.append((is_lead, f"{_panel_text(results, panel)}: {' '.join(part for part in parts if part)}"))
    return sentences


def _panel_text(results: Results, panel: tuple[str, str]) -> str:
    task, budget = panel
    return f"{results.task_labels[task]}, {budget}"
