"""Question and context as rows of tokens. A long context is read in several windows that overlap by a stride.

Devlin et al. 2019 read SQuAD so. Every window holds the whole question, and each is a row of its own, with the source
row's number: the windows of an example stand one behind the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow

from bench.config.task import Task
from bench.errors import BenchError
from bench.inputs.answers import START, TEXT, listed_answers
from bench.inputs.formats.rows import Rows
from bench.inputs.portions import IDS, portions
from bench.inputs.segments import SEGMENT_IDS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Columns of windows: the token that stands for no answer; the first and the last token of the answer, both NO_ANSWER
# where the window has none; the part of the context that the window shows; and of each token its characters in that
# part, from TOKEN_STARTS to before TOKEN_ENDS. Tokens that are not of the context have OUTSIDE there.
NO_ANSWER, SPAN, PASSAGE, TOKEN_STARTS, TOKEN_ENDS = "no_answer", "span", "passage", "token_starts", "token_ends"
OUTSIDE = -1
CONTEXT = 1  # what a tokenizer calls the second of two texts
Spans = Sequence[tuple[int, int]]  # characters of each token of a window, from the first to before the second


def check_windows(task: Task, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises BenchError where the tokenizer can't tell which characters a token stands for, as the task needs, or where
    the task's stride fills whole windows.
    """
    if task.facts.target != "span":
        return
    most, stride = task.recipe.max_length - tokenizer.num_special_tokens_to_add(pair=True), task.answering.stride
    if stride >= most:
        raise BenchError(
            f"task {task.name!r}: answers.stride is {stride}, but a window has {most} tokens of question and context "
            f"(recipe.max_length is {task.recipe.max_length})"
        )
    if not tokenizer.is_fast:
        raise BenchError(
            f"task {task.name!r}: the backbone's tokenizer does not say which characters a token stands for; expected "
            f"one of the library tokenizers, found {type(tokenizer).__name__}"
        )


class WindowEncoder:
    """Turns question-answering rows into the columns of windows, several per row where its context is long.

    Beside the columns above these are input_ids, target (the answers, see `listed_answers`), label_ids (empty), row
    and, if `segments`, token_type_ids.
    """

    def __init__(self, task: Task, tokenizer: PreTrainedTokenizerBase, *, segments: bool) -> None:
        self.task, self.segments, self._tokenizer = task, segments, tokenizer
        self._special = tokenizer.num_special_tokens_to_add(pair=True)

    def __call__(self, rows: Rows) -> dict[str, pyarrow.Array]:
        """The columns of the windows of a block of rows, by their names.

        Raises BenchError where a question leaves too little room for its context.
        """
        windows: list[dict[str, Any]] = []
        first = 0
        for texts in portions([[self.task.prefix + question, context] for question, context in rows.texts]):
            numbers = rows.numbers[first : first + len(texts)]
            answers = rows.targets[first : first + len(texts)]
            windows += self._windows(texts, numbers, answers)
            first += len(texts)
        kinds = {"input_ids": IDS, "target": pyarrow.string(), "label_ids": IDS, "row": pyarrow.int64()}
        kinds |= {SEGMENT_IDS: IDS} if self.segments else {}
        kinds |= {NO_ANSWER: pyarrow.int32(), SPAN: IDS, PASSAGE: pyarrow.string(), TOKEN_STARTS: IDS, TOKEN_ENDS: IDS}
        return {name: pyarrow.array([window[name] for window in windows], kind) for name, kind in kinds.items()}

    def _windows(
        self, texts: Sequence[Sequence[str]], numbers: Sequence[int], answers: Sequence[dict[str, list[Any]]]
    ) -> Iterator[dict[str, Any]]:
        questions, contexts = (list(column) for column in zip(*texts, strict=True))
        self._check_room(questions, contexts, numbers)
        found = self._tokenizer(
            questions,
            contexts,
            truncation="only_second",
            max_length=self.task.recipe.max_length,
            stride=self.task.answering.stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        for window, i in enumerate(found["overflow_to_sample_mapping"]):
            ids = found["input_ids"][window]
            is_context = [text == CONTEXT for text in found.sequence_ids(window)]
            spans = found["offset_mapping"][window]
            tokens = list(zip(spans, is_context, strict=True))
            shown = [span for span, inside in tokens if inside]
            if not shown:
                raise BenchError(f"task {self.task.name!r}, row {numbers[i]}: its context has no token")
            start, end, no_answer = shown[0][0], shown[-1][1], self._start_token(ids)
            yield {
                "input_ids": ids,
                "target": listed_answers(answers[i][TEXT]),
                "label_ids": [],
                "row": numbers[i],
                SEGMENT_IDS: found[SEGMENT_IDS][window] if self.segments else None,
                NO_ANSWER: no_answer,
                SPAN: span_of(answers[i], spans, is_context) or [no_answer, no_answer],
                PASSAGE: contexts[i][start:end],
                TOKEN_STARTS: [a - start if inside else OUTSIDE for (a, _), inside in tokens],
                TOKEN_ENDS: [b - start if inside else OUTSIDE for (_, b), inside in tokens],
            }

    def _check_room(self, questions: list[str], contexts: list[str], numbers: Sequence[int]) -> None:
        """Raises BenchError where a question is so long that its context fits neither in one window nor in several."""
        most, stride = self.task.recipe.max_length, self.task.answering.stride
        found = self._tokenizer(questions, add_special_tokens=False)["input_ids"]
        for question, context, number in zip(found, contexts, numbers, strict=True):
            room = most - self._special - len(question)
            if room <= stride and room < len(self._tokenizer(context, add_special_tokens=False)["input_ids"]):
                raise BenchError(
                    f"task {self.task.name!r}, row {number}: its question has {len(question)} tokens, which leave "
                    f"{max(room, 0)} of recipe.max_length, {most}, for windows of its context: expected more than "
                    f"answers.stride, {stride}"
                )

    def _start_token(self, ids: Sequence[int]) -> int:
        """The place of the token that stands for no answer: the one before the texts, which XLNet puts behind them."""
        return list(ids).index(self._tokenizer.cls_token_id) if self._tokenizer.cls_token_id in ids else 0


def span_of(answers: dict[str, list[Any]], spans: Spans, is_context: Sequence[bool]) -> list[int] | None:
    """The first and the last of the fewest tokens that cover the first of the `answers`.

    None where it is not whole in the window, or where there is no answer. Blanks at its ends need not be covered.

    >>> span_of({"text": ["way"], "answer_start": [3]}, [(0, 0), (0, 6), (7, 9)], [False, True, True])  # of "subway is"
    [1, 1]
    """
    if not answers[TEXT]:
        return None
    text, start = answers[TEXT][0], answers[START][0]
    first_character = start + len(text) - len(text.lstrip())
    end = start + len(text.rstrip())
    inside = np.flatnonzero(is_context)
    starts, ends = np.array([spans[int(i)] for i in inside]).T
    if first_character < starts[0] or end > ends[-1]:
        return None
    covering = inside[(ends > first_character) & (starts < end)]
    return [int(covering[0]), int(covering[-1])] if len(covering) else None
