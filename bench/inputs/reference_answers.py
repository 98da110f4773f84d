"""Whether the texts that a task is scored against hold the answers that `extract` looks for.

A text without an answer is right for no model. Where none has one, every score is 0, and would say so of the methods.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.config.extract import answer_in
from bench.config.task import Task
from bench.errors import BenchError
from bench.inputs.targets import short


def without_answer(task: Task, references: Sequence[str]) -> int:
    """How many of the `references` of a split give no answer; 0 for a task without `extract`."""
    return 0 if task.extract is None else sum(answer_in(text, task.extract) is None for text in references)


def check_reference_answers(task: Task, splits: Mapping[str, Sequence[str]]) -> None:
    """Raises BenchError where no reference of a split, by its name, gives an answer."""
    if task.extract is None:
        return
    for name, references in splits.items():
        # The first one with an answer ends the search, so it costs nothing where all is well.
        if all(answer_in(text, task.extract) is None for text in references):
            raise BenchError(
                f"{task.data_title}, split {name!r}: `extract` finds no answer in any text of column "
                f"{task.for_evaluation.data.columns.target!r}, so no prediction could be right; "
                f"the first is {short(references[0])}"
            )
