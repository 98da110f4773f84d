"""The tuning curves of the methods of one task and budget, and what they show of each pair, or why there are none."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

from bench.analysis.stats.score_ranges import range_of
from bench.analysis.stats.tuning_curves import TuningCurve, tuning_curves
from bench.analysis.stats.tuning_leads import lead_sentence
from bench.analysis.tuning_results import GroupTuning, TuningResults

GRID = "all points of a grid were tried, so they are no sample of what more trials would find"
HALVING = "successive halving stopped trials early, so their scores are of different steps"
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
    return tuning_curves(scores, range_of(next(iter(panel.values())).by)) if scores else {}


def lead_sentences(tuning: TuningResults, labels: Mapping[str, str]) -> list[str]:
    """One sentence per task, budget and pair of methods, in the study's order. `labels`: the methods' names."""
    sentences = []
    for task, budget in tuning.panels:
        curves = curves_of(tuning, tuning.panel(task, budget))
        for first, second in combinations(curves, 2):
            sentence = lead_sentence(labels[first], curves[first], labels[second], curves[second])
            sentences.append(f"{task}, {budget}: {sentence}")
    return sentences
