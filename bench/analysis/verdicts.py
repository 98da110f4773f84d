"""What the paired comparisons of a study say: which differences are clear after Holm's correction over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from bench.analysis.results import Results
from bench.analysis.stats.comparison import MIN_SEEDS_TO_CLAIM, Comparer, Comparison, Contrast
from bench.analysis.stats.limits import Missing
from bench.analysis.stats.paired import holm
from bench.config.method import Method

ALPHA = 0.05
# Fields of a method that do not change what is trained, and the storage, in which a pair may differ.
NOT_COMPARED = {"name", "label", "description", "storage", "double_quantization"}

SHORTLY = {
    Missing.ROW_SCORES: "no score per row",
    Missing.SAME_ROWS: "other rows",
    Missing.DISCORDANT: "too few rows differ",
}


class Outcome(Enum):
    """What a comparison says of its second method; the value is how a sentence calls it."""

    BETTER = "better"
    WORSE = "worse"
    UNDECIDED = "not told apart"
    UNJUDGED = "not judged"


@dataclass(frozen=True)
class Verdict:
    """One pair at one task and budget, in the task's reported metric.

    Attributes:
        comparison: None where no seed has a score of both methods.
        adjusted_p: corrected over all verdicts of the study; None where nothing can be claimed.
    """

    contrast: Contrast
    comparison: Comparison | None
    adjusted_p: float | None

    @property
    def significant(self) -> bool:
        """Whether the interval excludes zero, on enough seeds, and p < 0.05 after the correction."""
        clear = self.comparison is not None and self.comparison.clear
        return clear and self.adjusted_p is not None and self.adjusted_p < ALPHA

    @property
    def outcome(self) -> Outcome:
        if self.comparison is None or not self.comparison.decidable:
            return Outcome.UNJUDGED
        if not self.significant:
            return Outcome.UNDECIDED
        return Outcome.BETTER if self.comparison.better else Outcome.WORSE

    @property
    def obstacle(self) -> str:
        """In a few words, why it is not judged; empty where it is."""
        if self.comparison is None or not self.comparison.complete:
            return "a seed is missing, failed or without a score"
        if self.comparison.missing:
            return SHORTLY[self.comparison.missing]
        few = len(self.comparison.seeds) < MIN_SEEDS_TO_CLAIM
        return f"fewer than {MIN_SEEDS_TO_CLAIM} seeds" if few else ""


def verdicts(comparer: Comparer, pairs: Sequence[tuple[str, str]] | None = None) -> list[Verdict]:
    """All pairs at every task and budget where the study asks for both methods, by task, then pair, then budget.

    `pairs`: (first, second) by name, instead of those of `method_pairs`. Holm's correction is over these.
    """
    results = comparer.results
    contrasts = [
        Contrast(task.name, task.primary_split, task.metric, budget, first, second)
        for task in results.tasks.values()
        for first, second in (method_pairs(results) if pairs is None else pairs)
        for budget in results.budgets
        if results.seeds_planned(task.name, first, budget) and results.seeds_planned(task.name, second, budget)
    ]
    compared = [comparer.compare(contrast) for contrast in contrasts]
    adjusted = holm([comparison.claim_p if comparison else None for comparison in compared])
    return [Verdict(*each) for each in zip(contrasts, compared, adjusted, strict=True)]


def against_baseline(results: Results, found: list[Verdict]) -> list[Verdict]:
    """The verdicts on pairs whose first method is the baseline: LoRA, or the study's first method.

    All of them where the baseline is in no pair.
    """
    methods = list(results.labels)
    baseline = "lora" if "lora" in methods else methods[0]
    return [verdict for verdict in found if verdict.contrast.first == baseline] or found


def method_pairs(results: Results) -> list[tuple[str, str]]:
    """Pairs of methods that share their storage or differ in nothing but the storage, LoRA first, else as the study."""
    methods = list({cell.method.name: cell.method for cell in results.cells}.values())
    methods.sort(key=lambda method: method.name != "lora")  # stable
    return [
        (first.name, second.name)
        for index, first in enumerate(methods)
        for second in methods[index + 1 :]
        if _comparable(first, second)
    ]


def _comparable(first: Method, second: Method) -> bool:
    same_training = first.model_dump(exclude=NOT_COMPARED) == second.model_dump(exclude=NOT_COMPARED)
    return first.storage == second.storage or same_training
