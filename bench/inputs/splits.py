"""The tokenized rows of a split: an Arrow file that is mapped into memory, so that a row is read when it is used.

Any number of rows costs a process only the pages that it touches, and the processes of a machine share these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.ipc

from bench.inputs.segments import SEGMENT_IDS
from bench.inputs.windows import SPAN


class Column(Sequence[Any]):
    """The values of one column, by row. A list of numbers comes as an array that is a view of the file, [tokens]."""

    def __init__(self, column: pyarrow.ChunkedArray) -> None:
        self._chunks = column.chunks
        self._ends = np.cumsum([len(chunk) for chunk in column.chunks])
        self._is_list = pyarrow.types.is_list(column.type)
        if self._is_list:
            self._values = [chunk.values.to_numpy() for chunk in column.chunks]
            self._offsets = [chunk.offsets.to_numpy() for chunk in column.chunks]

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return [self[i] for i in range(*row.indices(len(self)))]
        if not 0 <= row < len(self):
            raise IndexError(row)
        number = int(np.searchsorted(self._ends, row, side="right"))
        at = row - (int(self._ends[number - 1]) if number else 0)
        if not self._is_list:
            return self._chunks[number][at].as_py()
        start, end = self._offsets[number][at : at + 2]
        return self._values[number][start:end]

    @property
    def lengths(self) -> np.ndarray:
        """Length of each list, [rows]."""
        return np.concatenate([np.diff(offsets) for offsets in self._offsets])

    def part(self, rows: np.ndarray) -> Part:
        """The values of the rows at these indices."""
        return Part(self, rows)


class Part(Sequence[Any]):
    """Some rows of a column, in a given order."""

    def __init__(self, column: Column, rows: np.ndarray) -> None:
        self._column, self._rows = column, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return [self._column[int(i)] for i in self._rows[row]]
        return self._column[int(self._rows[row])]

    @property
    def lengths(self) -> np.ndarray:
        """Length of each list, [rows]."""
        lengths: np.ndarray = self._column.lengths[self._rows]
        return lengths

    def part(self, rows: np.ndarray) -> Part:
        """The values of the rows at these indices of this part."""
        return Part(self._column, self._rows[rows])


@dataclass(frozen=True)
class Split:
    """The rows of one split, or a part of them."""

    input_ids: Column | Part  # one int32 array per row
    targets: Column | Part  # class indices, numbers, target texts or answers
    label_ids: Column | Part  # tokens of the target texts; empty arrays where the model generates nothing
    rows: Column | Part  # number of each row in the source
    segment_ids: Column | Part | None = None  # beside each token id; None where the model is told no segments
    more: Mapping[str, Column | Part] = field(default_factory=dict)  # what else rows of the task's kind have, by name

    def __len__(self) -> int:
        return len(self.input_ids)

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens of each row's source."""
        lengths: list[int] = self.input_ids.lengths.tolist()
        return lengths

    @cached_property
    def target_lengths(self) -> list[int]:
        """Tokens of each row's target text; 0 where the model generates nothing."""
        lengths: list[int] = self.label_ids.lengths.tolist()
        return lengths

    @cached_property
    def first_windows(self) -> list[int]:
        """The index of the first row of each example: of every row, unless rows are windows of longer ones."""
        if SPAN not in self.more:
            return list(range(len(self)))
        numbers = [self.rows[i] for i in range(len(self))]
        return [i for i, number in enumerate(numbers) if i == 0 or number != numbers[i - 1]]

    @property
    def examples(self) -> Split:
        """One row per example, the first of its windows: whatever is said of an example stands in each of them."""
        return self if SPAN not in self.more else self.part(self.first_windows)

    def held_out(self, examples: int) -> tuple[list[int], list[int]]:
        """The indices of all rows but those of so many `examples`, and of these, which are evenly spread."""
        firsts = [*self.first_windows, len(self)]
        of_examples = [range(start, end) for start, end in pairwise(firsts)]
        held = {(k * len(of_examples)) // examples for k in range(examples)}
        parts: tuple[list[int], list[int]] = ([], [])
        for number, rows in enumerate(of_examples):
            parts[number in held].extend(rows)
        return parts

    def part(self, rows: Sequence[int]) -> Split:
        """The rows at these indices, in this order."""
        indices = np.asarray(rows, dtype=np.int64)
        return Split(
            input_ids=self.input_ids.part(indices),
            targets=self.targets.part(indices),
            label_ids=self.label_ids.part(indices),
            rows=self.rows.part(indices),
            segment_ids=None if self.segment_ids is None else self.segment_ids.part(indices),
            more={name: column.part(indices) for name, column in self.more.items()},
        )

    def longest_first(self) -> list[int]:
        """The indices of the rows, those with the most source tokens first."""
        order: list[int] = np.argsort(-np.asarray(self.lengths), kind="stable").tolist()
        return order


def split_file(folder: Path, name: str) -> Path:
    """The file of the split called `name` in a prepared folder."""
    return folder / f"{name}.arrow"


def open_split(file: Path) -> Split:
    """The rows in `file`, whose columns are named as in `bench.inputs.tokenize`.

    Raises pyarrow.ArrowInvalid where it is no Arrow file.
    """
    table = pyarrow.ipc.open_file(pyarrow.memory_map(str(file))).read_all()
    columns = {name: Column(table.column(name)) for name in table.column_names}
    return Split(
        input_ids=columns.pop("input_ids"),
        targets=columns.pop("target"),
        label_ids=columns.pop("label_ids"),
        rows=columns.pop("row"),
        segment_ids=columns.pop(SEGMENT_IDS, None),
        more=columns,
    )
