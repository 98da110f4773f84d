"""Read the rows of a task: from the hub, from a mirror folder in the hub's layout, from files, or from a generator, or
from an installed package.

Everything about the rows is checked here, before any model is loaded: files, columns, labels, missing texts.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.config.cell import DataChoice
from bench.config.task import Task
from bench.errors import BenchError
from bench.files import digest
from bench.inputs import synthetic
from bench.inputs.answers import row_answers
from bench.inputs.formats.row_files import class_names_of, read_blocks
from bench.inputs.formats.rows import BLOCK, Block, Rows
from bench.inputs.images import check_image
from bench.inputs.installed import installed_rows
from bench.inputs.locate.dataset_card import Card
from bench.inputs.locate.located import locate
from bench.inputs.options import right_option, row_options
from bench.inputs.repeated_options import log_repeated, repeats_right_option
from bench.inputs.targets import BadValue, check_class_names, check_text, is_unlabelled, short, target

logger = logging.getLogger(__name__)

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"  # the names of generated options

# Seed of the permutation that picks the training rows where a study limits their number. It is the same for all cells,
# so that every method and seed is trained on the same rows.
ORDER_SEED = 20230310

# How a value of an input column is checked, by what the model reads.
_CHECKED: dict[str, Callable[[Any], Any]] = {"text": check_text, "image": check_image}


@dataclass(frozen=True)
class SourceSplit:
    """The rows of one split, read and checked in blocks, so that they are never all in memory."""

    task: Task
    name: str
    files: Sequence[Path]
    generated: Rows | None = None  # by a generator, or of a package, in place of files
    numbers: Sequence[int] = ()  # numbers of the rows that are used, ascending
    dropped: int = 0  # rows without a target, which are left out
    repeated: int = 0  # rows whose right option is there twice, which are left out
    has_class_names: bool = False  # whether the files name the classes, so that their numbers are indices of names

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def source_name(self) -> str:
        """What the data set calls the split."""
        return {"train": self.task.data.train, **self.task.data.evaluation}[self.name]

    @property
    def title(self) -> str:
        """What messages call the split."""
        return f"{self.task.data_title}, split {self.name!r}"

    @property
    def columns(self) -> list[str]:
        """The columns that are read: those of texts or images, of options, and the target."""
        columns = self.task.data.columns
        return [*columns.inputs, *columns.option_columns, columns.target]

    def blocks(self) -> Iterator[Rows]:
        """The rows in order, in blocks of at most BLOCK rows, read anew from the source at each call.

        Targets are as the task's kind has them. Raises BenchError at the first bad text or target.
        """
        for start, file, block in self.read(self.columns):
            first = bisect_left(self.numbers, start)
            end = bisect_left(self.numbers, start + len(block.columns[0]))
            rows = Rows([], [], [*self.numbers[first:end]])
            for number in rows.numbers:
                texts, options, value = self._checked(block, number - start, number, file)
                rows.texts.append(texts)
                rows.targets.append(value)
                if self.task.facts.target == "option":
                    rows.options.append(options)
            if rows.numbers:
                yield rows
            if end == len(self.numbers):
                return

    def read(self, columns: Sequence[str]) -> Iterator[tuple[int, Path | None, Block]]:
        """Blocks of `columns` of all rows, unchecked, each with the number of its first row, and its file."""
        start = 0
        if self.generated is not None:
            yield from self._generated(self.generated)
            return
        try:
            for file in self.files:
                for block in read_blocks(file, columns, self.task.data):
                    yield start, file, block
                    start += len(block.columns[0])
        except BenchError as error:
            raise BenchError(f"{self.title}: {error}") from error

    def _generated(self, rows: Rows) -> Iterator[tuple[int, Path | None, Block]]:
        """Blocks of the generator's rows, whose columns are those of the task whatever it calls them."""
        inputs = self.task.data.columns.inputs  # none in plain language modeling, whose targets are the generator's
        columns = [list(texts) for texts in zip(*rows.texts, strict=True)] if inputs else []
        targets = rows.targets
        if rows.options:
            columns.append(rows.options)
            names = self.task.data.columns.option_names
            if isinstance(names, str):
                columns.append([list(LETTERS[: len(options)]) for options in rows.options])
            if names is not None:
                spelled = LETTERS if isinstance(names, str) else names
                targets = [spelled[index] for index in targets]
        for start in range(0, len(targets), BLOCK):
            part = slice(start, start + BLOCK)
            yield start, None, Block([column[part] for column in [*columns, targets]])

    def _checked(self, block: Block, at: int, number: int, file: Path | None) -> tuple[list[Any], list[str], Any]:
        """Texts or images, options and target of one row. Raises BenchError that names row, column, file and line."""
        values = [column[at] for column in block.columns]
        texts: list[Any] = []
        options: list[str] = []
        unread = iter(self.columns)
        column = next(unread)  # the one that a fault is about
        try:
            for value in values[: len(self.task.data.columns.inputs)]:
                texts.append(_CHECKED[self.task.facts.input](value))
                column = next(unread)
            if self.task.facts.target == "span":
                return texts, [], row_answers(self.task, values[-1], texts[-1])
            if self.task.facts.target != "option":
                return texts, [], target(self.task, values[-1], has_names=self.has_class_names)
            options = row_options(self.task, values[len(texts) : -1])
            column = self.columns[-1]
            return texts, options, right_option(self.task, values[len(texts) :], options)
        except BadValue as fault:
            line = f", line {block.lines[at]}" if block.lines else ""
            place = f" ({file}{line})" if line or len(self.files) > 1 else ""
            raise BenchError(f"{self.title}, row {number}: column {column!r} {fault}{place}") from fault


@dataclass(frozen=True)
class Source:
    """Every split of a task, whose rows were checked, and where they came from."""

    splits: dict[str, SourceSplit]
    revision: str | None
    files: dict[str, str]  # the SHA-256 of each file, by its path in the source
    synthetic: bool
    evaluation_revision: str | None = None  # of the other data set to which the evaluation splits belong


def read_source(task: Task, choice: DataChoice, mirror: Path | None) -> Source:
    """Find and check the rows of `task` that `choice` asks for.

    Raises BenchError that names the data set, the split, the row, what was expected and what was found.
    """
    names = {"train": task.data.train, **task.data.evaluation}
    tasks = {name: task if name == "train" else task.for_evaluation for name in names}
    splits = {}
    if task.data.installed is not None or choice.source == "embedded":
        for name, split in names.items():
            found_rows = (
                installed_rows(task.data.installed, split)
                if task.data.installed is not None
                else synthetic.rows(task.data.embedded or "", split)
            )
            splits[name] = _checked(SourceSplit(tasks[name], name, [], found_rows), choice, None)
        return Source(splits, None, {}, synthetic=task.data.installed is None)
    located = locate(task, mirror)
    for name, split in names.items():
        found, card = SourceSplit(tasks[name], name, list(located.splits[name].values())), located.card_of(name)
        found = replace(found, has_class_names=_check_classes(found, card))
        splits[name] = _checked(found, choice, card.rows(tasks[name].data, split))
    files = {name: digest(file) for name, file in located.files.items()}
    other = located.evaluation.revision if located.evaluation else None
    return Source(splits, located.revision, files, synthetic=False, evaluation_revision=other)


def _checked(split: SourceSplit, choice: DataChoice, declared: int | None) -> SourceSplit:
    """The split with the numbers of its rows, each of which was read once.

    Raises BenchError for an empty split, for another number of rows than declared, and at the first bad row.
    """
    count, unlabelled = _count(split)
    if count == 0:
        raise BenchError(f"{split.title}: it has no row")
    if declared is not None and count != declared:
        raise BenchError(
            f"{split.title}: it has {count:,} rows, but the data set declares {declared:,}: files are missing, cut off "
            f"or too many ({', '.join(str(file) for file in split.files[:3])})"
        )
    planned = split.task.data.rows.get(split.source_name, count)
    if planned != count and split.generated is None:
        logger.warning("%s: it has %d rows, and the task's file says %d in data.rows", split.title, count, planned)
    usable: Sequence[int] = range(count)
    if unlabelled:
        usable = sorted(set(usable) - unlabelled.keys())
        _check_unlabelled(split, count, unlabelled)
    repeated = _repeated(split, len(usable))
    numbers = _limited(split.name, usable, choice, repeated)
    split = replace(split, numbers=numbers, dropped=len(unlabelled), repeated=len(repeated))
    for _ in split.blocks():
        pass
    return split


def _count(split: SourceSplit) -> tuple[int, dict[int, Any]]:
    """The number of rows, and the targets of those that have none, by their numbers."""
    count = 0
    unlabelled: dict[int, Any] = {}
    for start, _, block in split.read([split.task.data.columns.target]):
        targets = block.columns[-1]
        unlabelled |= {start + i: value for i, value in enumerate(targets) if is_unlabelled(split.task, value)}
        count = start + len(targets)
    return count, unlabelled


def _check_unlabelled(split: SourceSplit, count: int, unlabelled: dict[int, Any]) -> None:
    """Log how many rows are left out. Raises BenchError unless the task says that they may be, and others remain."""
    first, value = next(iter(unlabelled.items()))
    where = f"{split.title}, row {first}: column {split.task.data.columns.target!r} holds {short(value)}"
    if len(unlabelled) == count:
        raise BenchError(f"{where}, as do all others: the split is unlabeled (as GLUE's test splits are)")
    share = f"{len(unlabelled):,} of {count:,} rows {'is' if len(unlabelled) == 1 else 'are'} unlabeled"
    if not split.task.data.drop_unlabelled:
        raise BenchError(f"{where}: {share}; `drop_unlabelled: true` in the task's `data` leaves such rows out")
    logger.info("%s: %s and left out", split.title, share)


def _repeated(split: SourceSplit, usable: int) -> set[int]:
    """The numbers of the rows that can't be used, as their right option is there twice. Logs how many these are.

    Raises BenchError where they are all of the `usable` rows.
    """
    task, columns = split.task, split.task.data.columns
    if split.generated is not None or task.facts.target != "option" or columns.options is None:
        return set()  # generated options are different, as are labels, which are the options of all rows
    found = set()
    for start, _, block in split.read([*columns.option_columns, columns.target]):
        rows = enumerate(zip(*block.columns, strict=True), start)
        found |= {number for number, values in rows if repeats_right_option(task, values)}
    if found and len(found) == usable:
        raise BenchError(f"{split.title}: in every row another option has the text of the right one")
    if found:
        log_repeated(split.title, len(found))
    return found


def _check_classes(split: SourceSplit, card: Card) -> bool:
    """Whether the data name the classes. Raises BenchError where these contradict the task's labels."""
    task, column = split.task, split.task.data.columns.target
    if not task.labels:
        return False
    of_files = [(str(file), class_names_of(file, column)) for file in split.files]
    declared = [("the data set's card", card.class_names(task.data, column)), *of_files]
    named = [(where, names) for where, names in declared if names is not None]
    for where, names in named:
        check_class_names(task, names, f"{split.title}: column {column!r} in {where}")
    return bool(named)


def _limited(name: str, usable: Sequence[int], choice: DataChoice, left_out: Collection[int]) -> Sequence[int]:
    """As many rows as `choice` allows: for training the first of a fixed permutation, for evaluation the first rows.

    Those of `left_out` are none of them. They have their places in the permutation, so that they change no other's.
    """
    limit = choice.train_rows if name == "train" else choice.evaluation_rows
    if limit is None or limit >= len(usable) - len(left_out):
        return [number for number in usable if number not in left_out] if left_out else usable
    if name != "train":
        return [number for number in usable[: limit + len(left_out)] if number not in left_out][:limit]
    import numpy as np

    order = np.random.default_rng(ORDER_SEED).permutation(len(usable))[: limit + len(left_out)]
    drawn = [usable[i] for i in order.tolist()]
    return sorted([number for number in drawn if number not in left_out][:limit])
