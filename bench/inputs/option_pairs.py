"""What an encoder reads of a row with options: a pair of texts for each option, which its head gives a score."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import pyarrow

from bench.config.task import Task
from bench.errors import BenchError
from bench.inputs.formats.rows import Rows
from bench.inputs.portions import IDS
from bench.inputs.prompts import OPTION_LENGTHS
from bench.inputs.segments import SEGMENT_IDS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class OptionPairEncoder:
    """Turns rows of a scored-choice task into columns: input_ids, the pairs of all options one after the other, and the
    tokens of each pair. A pair is the row's text, of which the end is cut where it is too long, and the whole option.
    """

    def __init__(self, task: Task, tokenizer: PreTrainedTokenizerBase, *, segments: bool) -> None:
        self.task, self.segments, self._tokenizer = task, segments, tokenizer

    def __call__(self, rows: Rows) -> dict[str, pyarrow.Array]:
        """The columns of a block of rows, by their names. Raises BenchError where an option fills a pair by itself."""
        pairs = [
            self._pairs(self.task.prefix + " ".join(texts), options, number)
            for texts, options, number in zip(rows.texts, rows.options, rows.numbers, strict=True)
        ]
        columns = {
            "input_ids": [list(chain.from_iterable(row["input_ids"])) for row in pairs],
            "label_ids": [[] for _ in pairs],
            OPTION_LENGTHS: [[len(ids) for ids in row["input_ids"]] for row in pairs],
        }
        if self.segments:
            columns[SEGMENT_IDS] = [list(chain.from_iterable(row[SEGMENT_IDS])) for row in pairs]
        return {name: pyarrow.array(values, IDS) for name, values in columns.items()}

    def _pairs(self, text: str, options: list[str], number: int) -> Any:
        most = self.task.recipe.max_length
        alone = max(len(ids) for ids in self._tokenizer([""] * len(options), options)["input_ids"])
        if alone >= most:
            raise BenchError(
                f"task {self.task.name!r}, row {number}: an option has {alone} tokens, which leaves none of "
                f"recipe.max_length, {most}, for the text"
            )
        return self._tokenizer([text] * len(options), options, truncation="only_first", max_length=most)
