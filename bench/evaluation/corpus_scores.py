"""BLEU (Papineni et al. 2002) and chrF (Popović 2015) of the texts of a split together, by sacrebleu (Post 2018).

Both are computed from sums over the whole split, and are no means over rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.config.kinds import CORPUS_METRICS
from bench.config.task import Task


def corpus_scores(task: Task, predictions: Sequence[str], references: Sequence[str]) -> dict[str, float | None]:
    """By metric of `task`, the score of all texts together, as a fraction: a BLEU of 27.3 is 0.273."""
    return {
        metric: scorer(task, metric).corpus_score(list(predictions), [list(references)]).score / 100
        for metric in corpus_metrics(task)
    }


def signatures(task: Task) -> dict[str, str]:
    """By metric of `task`, sacrebleu's signature: all that a score depends on beside the texts.

    Without it a published score can't be compared (Post 2018). Every row has one reference.
    """
    found = {}
    for metric in corpus_metrics(task):
        scored = scorer(task, metric)
        scored.corpus_score(["a"], [["a"]])  # a signature also counts the references, which it only knows then
        found[metric] = str(scored.get_signature())
    return found


def corpus_metrics(task: Task) -> list[str]:
    """The metrics of `task` that are computed here."""
    return [metric for metric in task.metrics if metric in CORPUS_METRICS]


def scorer(task: Task, metric: str) -> Any:
    """sacrebleu's object that computes `metric`. Texts are compared with their capitals, and written as they are."""
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    # force: a text that ends in ' .' is no reason for a warning.
    return BLEU(tokenize=task.bleu_tokenizer, force=True) if metric == "bleu" else CHRF()
