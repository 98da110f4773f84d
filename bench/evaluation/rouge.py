"""ROUGE (Lin 2004) of texts in any script, by rouge-score, and how much of the texts it never saw.

rouge-score's own tokenizer keeps a to z and 0 to 9 alone. It drops every letter of a Russian text, so two equal ones
score 0. A task can choose words of any script instead. How much of the references a tokenizer drops is measured.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import regex

from bench.config.kinds import ROUGE
from bench.config.task import Task

MANY_ROWS = 0.01  # a share of rows that each lose more than half of their text: above it, the scores are no result

# Scripts that put no spaces between words: Chinese and Japanese, and those of South East Asia such as Thai.
_UNSPACED = r"\p{Script=Han}\p{Script_Extensions=Hiragana}\p{Script_Extensions=Katakana}\p{Line_Break=Complex_Context}"
_WORD = regex.compile(
    rf"[[{_UNSPACED}]&&[\p{{L}}\p{{N}}]]\p{{M}}*|[[\p{{L}}\p{{M}}\p{{N}}]--[{_UNSPACED}]]+", regex.VERSION1
)
_FORMAT = regex.compile(r"\p{Cf}")  # soft hyphens and joiners, which one writer sets and another does not
_SENTENCE_END = regex.compile(r"(?<=[.!?])\s+")
_SENTENCE_END_OF_ANY_SCRIPT = regex.compile(r"(?<=[.!?؟۔।॥።])\s+|(?<=[。！？｡])\s*")
_KEPT_BY_ROUGE_SCORE = regex.compile(r"[a-z0-9]")


class StemmingTokenizer:
    """The tokenizer of rouge-score with a stemmer that remembers words, since stemming takes most of the time."""

    def __init__(self) -> None:
        from nltk.stem import porter
        from rouge_score.tokenize import tokenize

        self.stem = lru_cache(maxsize=1 << 16)(porter.PorterStemmer().stem)
        self._tokenize = tokenize

    def tokenize(self, text: str) -> list[str]:
        return list(self._tokenize(text, self))


class WordTokenizer:
    """Words of letters, marks and digits of any script; where words are not set apart, one letter with its marks.

    Text is compared without case, in Unicode's normal form NFKC. Nothing is stemmed.
    """

    def tokenize(self, text: str) -> list[str]:
        return list(_WORD.findall(_normal(text)))


def rouge_metrics(task: Task) -> list[str]:
    """The ROUGE metrics of `task` that are computed here, not by a module of the library `evaluate`."""
    return [metric for metric in task.metrics if metric in ROUGE]


def rouge_rows(task: Task, predictions: Sequence[str], references: Sequence[str]) -> dict[str, list[float]]:
    """By metric of `task`, the score of each row.

    It is the F1 of ROUGE-1, -2, -L or -Lsum (Lin 2004), by rouge-score: with stemming, as papers report it, unless the
    task chooses another tokenizer. ROUGE-Lsum compares sentence by sentence. A sentence is a line; a text of one line
    is split after . ! and ?, with the tokenizer for any script also after the stops of other scripts.
    """
    metrics = rouge_metrics(task)
    rows: dict[str, list[float]] = {metric: [] for metric in metrics}
    if not metrics:
        return rows
    from rouge_score.rouge_scorer import RougeScorer

    any_script = task.rouge_tokenizer == "words"
    tokenizer: Any = WordTokenizer() if any_script else StemmingTokenizer()
    whole_texts = RougeScorer([metric for metric in metrics if metric != "rougeLsum"], tokenizer=tokenizer)
    sentences = RougeScorer([metric for metric in metrics if metric == "rougeLsum"], tokenizer=tokenizer)
    for prediction, reference in zip(predictions, references, strict=True):
        scores = whole_texts.score(reference, prediction)
        lines = [in_lines(text, any_script=any_script) for text in (reference, prediction)]
        scores |= sentences.score(*lines)
        for metric in metrics:
            rows[metric].append(float(scores[metric].fmeasure))
    return rows


def in_lines(text: str, *, any_script: bool = False) -> str:
    """`text` with one sentence per line. A text of several lines is taken as it is."""
    text = text.strip()
    if "\n" in text:
        return text
    return str((_SENTENCE_END_OF_ANY_SCRIPT if any_script else _SENTENCE_END).sub("\n", text))


@dataclass(frozen=True)
class Dropped:
    """What the tokenizer leaves out of the references of a split, spaces aside.

    `text` is the share of their characters, `rows` the share of rows that lose more than half of theirs. A record keeps
    both under `evaluation`.
    """

    text: float
    rows: float

    @property
    def too_much(self) -> bool:
        """Whether a score says little of the texts."""
        return self.text > 0.5 or self.rows > MANY_ROWS

    def warning(self, tokenizer: str) -> str:
        """What a reader of the scores should know, where `too_much` is dropped by this tokenizer."""
        is_default = tokenizer == "rouge-score"
        keeps = "a to z and 0 to 9" if is_default else "letters and digits"
        advice = "; `rouge_tokenizer: words` in the task's file keeps the letters of any script" if is_default else ""
        return (
            f"ROUGE's tokenizer {tokenizer} keeps {keeps} alone: {100 * self.text:.0f}% of the references' text is "
            f"dropped, and {100 * self.rows:.0f}% of the rows lose more than half of theirs{advice}"
        )


def dropped(task: Task, references: Sequence[str]) -> Dropped:
    """How much of `references`, of which there is at least one, `task`'s tokenizer leaves out."""
    count = _count_words if task.rouge_tokenizer == "words" else _count_as_rouge_score
    counts = [count(reference) for reference in references]
    kept, whole = sum(row[0] for row in counts), sum(row[1] for row in counts)
    mostly = sum(2 * kept_of_row < whole_of_row for kept_of_row, whole_of_row in counts)
    return Dropped(text=1 - kept / whole if whole else 0.0, rows=mostly / len(counts))


def _count_as_rouge_score(text: str) -> tuple[int, int]:
    """How many characters rouge-score keeps, and how many there are beside spaces."""
    text = text.lower()
    return len(_KEPT_BY_ROUGE_SCORE.findall(text)), len("".join(text.split()))


def _count_words(text: str) -> tuple[int, int]:
    text = _normal(text)
    return sum(map(len, _WORD.findall(text))), len("".join(text.split()))


def _normal(text: str) -> str:
    return str(_FORMAT.sub("", unicodedata.normalize("NFKC", text)).casefold())
