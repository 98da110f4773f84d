"""Tokenize the rows of a task in blocks, so that memory does not depend on their number.

Each finished block is a file of its own. A preparation that was interrupted, even killed, goes on behind the last of
them. Blocks do not depend on how many processors tokenize, so neither do the rows that are made of them.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow
import pyarrow.compute
import pyarrow.ipc
import pyarrow.parquet

from bench.config.task import Task
from bench.errors import BenchError
from bench.files import write_atomic
from bench.inputs.empty_texts import with_a_token
from bench.inputs.formats.rows import Rows
from bench.inputs.images import PIXELS
from bench.inputs.languages import set_languages
from bench.inputs.option_pairs import OptionPairEncoder
from bench.inputs.portions import IDS, portions
from bench.inputs.prompts import PromptEncoder
from bench.inputs.segments import SEGMENT_IDS
from bench.inputs.sources import SourceSplit
from bench.inputs.windows import WindowEncoder

if TYPE_CHECKING:
    from tqdm import tqdm
    from transformers import PreTrainedTokenizerBase

LISTS = ("input_ids", "label_ids", PIXELS)  # of these columns a batch has the first two, or all
NO_TEXT = -1  # fewer tokens than any row has, where rows need none
TABLE_TOKENS = 2**24  # tokens up to which a digest takes all rows as one table


class RowEncoder(Protocol):
    """Turns rows of a task into columns. A row without any token has `empty` tokens at the most."""

    task: Task
    empty: int

    def __call__(self, rows: Rows) -> pyarrow.RecordBatch:
        """The columns of a block of rows."""


class Tokenizer:
    """Turns rows of a task into the columns input_ids, target, label_ids, row and, if `segments`, token_type_ids.

    Rows of a decoder's task have the columns of PromptEncoder, those of a question-answering task the columns of
    WindowEncoder, where one row of the source may become several.
    """

    def __init__(self, task: Task, tokenizer: PreTrainedTokenizerBase, *, segments: bool) -> None:
        self.task, self.segments = task, segments
        self._tokenizer = tokenizer
        set_languages(task, tokenizer)
        # Special tokens alone. Of a prompt that is empty in every row nothing was cut off: plain language modeling.
        self.empty = NO_TEXT if task.prompt and not task.prompt.text else len(tokenizer("")["input_ids"])

    def __call__(self, rows: Rows) -> pyarrow.RecordBatch:
        """The columns of a block of rows."""
        if self.task.facts.target == "span":
            windows = WindowEncoder(self.task, self._tokenizer, segments=self.segments)
            return pyarrow.RecordBatch.from_pydict(windows(rows))
        if self.task.facts.family == "decoder":
            return _of_rows(PromptEncoder(self.task, self._tokenizer)(rows), rows)
        if self.task.facts.target == "option":
            return _of_rows(OptionPairEncoder(self.task, self._tokenizer, segments=self.segments)(rows), rows)
        recipe, targets = self.task.recipe, rows.targets
        texts = [[self.task.prefix + row[0], *row[1:]] for row in rows.texts]
        columns = self._encoded(texts, recipe.max_length)
        labels = pyarrow.array([[]] * len(texts), IDS)
        if self.task.facts.target_tokens:
            targets = targets if self.task.facts.target == "text" else [self.task.labels[i] for i in targets]
            wanted = [[target] for target in targets]
            labels = self._encoded(wanted, recipe.max_target_length, as_target=True)["input_ids"]
        table = {
            "input_ids": columns["input_ids"],
            "target": pyarrow.array(targets),
            "label_ids": labels,
            "row": pyarrow.array(rows.numbers, pyarrow.int64()),
        }
        if self.segments:
            table[SEGMENT_IDS] = columns[SEGMENT_IDS]
        return pyarrow.RecordBatch.from_pydict(table)

    def _encoded(self, texts: list[list[str]], length: int, *, as_target: bool = False) -> dict[str, pyarrow.Array]:
        """What the tokenizer makes of each row's text or pair of texts, by its name, as one array of lists."""
        parts: dict[str, list[pyarrow.Array]] = {}
        for call in portions(texts):
            columns = [list(column) for column in zip(*call, strict=True)]
            given = (
                {"text_target": columns[0]} if as_target else dict(zip(("text", "text_pair"), columns, strict=False))
            )
            found = self._tokenizer(**given, truncation=True, max_length=length)
            parts.setdefault("input_ids", []).append(
                pyarrow.array(with_a_token(found["input_ids"], self._tokenizer), IDS)
            )
            if SEGMENT_IDS in found:
                parts.setdefault(SEGMENT_IDS, []).append(pyarrow.array(found[SEGMENT_IDS], IDS))
        return {name: pyarrow.concat_arrays(arrays) for name, arrays in parts.items()}


def _of_rows(columns: dict[str, pyarrow.Array], rows: Rows) -> pyarrow.RecordBatch:
    """These columns, and what else every row has."""
    numbers = pyarrow.array(rows.numbers, pyarrow.int64())
    return pyarrow.RecordBatch.from_pydict({**columns, "target": pyarrow.array(rows.targets), "row": numbers})


def write_blocks(split: SourceSplit, tokenizer: RowEncoder, folder: Path, bar: tqdm[Any]) -> list[Path]:
    """Tokenize `split` block by block into files below `folder`, except those that are there; return them in order."""
    files = []
    for number, rows in enumerate(split.blocks()):
        file = folder / f"{split.name}-{number:06}.arrow"
        if not _holds(file, len(rows.numbers)):
            write_atomic(file, _as_file(tokenizer(rows)))
        files.append(file)
        bar.update(len(rows.numbers))
    return files


def join_blocks(blocks: list[Path], file: Path) -> None:
    """Write the rows of all `blocks` into one Arrow file, which `open_split` opens."""
    with pyarrow.ipc.new_file(str(file), _Batches(blocks[0]).schema) as writer:
        for block in blocks:
            for batch in _Batches(block):
                writer.write_batch(batch)


def count_rows(file: Path) -> int:
    """The rows in `file`: windows, where those of the source are read in several."""
    return sum(batch.num_rows for batch in _Batches(file))


def check_lengths(file: Path, tokenizer: RowEncoder, where: str) -> None:
    """Raises BenchError where truncation leaves no row in `file` a token."""
    longest = max(
        pyarrow.compute.max(pyarrow.compute.list_value_length(batch.column("input_ids"))).as_py()
        for batch in _Batches(file)
    )
    if longest <= tokenizer.empty:
        raise BenchError(f"{where}: no row has a token left at {tokenizer.task.recipe.max_length}")


def rows_digest(file: Path) -> str:
    """SHA-256 of the rows in `file`, however they are stored: of the parquet file that they would make.

    It decides a cell's identity, so rows that were prepared as parquet (before Arrow) must keep theirs. Their files had
    all rows in one group, which takes memory: with more than TABLE_TOKENS tokens each block is a group of its own.
    """
    batches = _Batches(file)
    lists = [name for name in LISTS if name in batches.schema.names]
    if sum(len(batch.column(name).values) for batch in batches for name in lists) <= TABLE_TOKENS:
        groups: Iterable[pyarrow.Table] = [pyarrow.Table.from_batches(batches).combine_chunks()]
    else:
        groups = (pyarrow.Table.from_batches([batch]) for batch in batches)
    digest = hashlib.sha256()
    with pyarrow.parquet.ParquetWriter(_Hashing(digest), batches.schema, compression="zstd") as writer:
        for group in groups:
            writer.write_table(group)
    return digest.hexdigest()


class _Hashing(io.RawIOBase):
    """A file of which only the digest is kept."""

    def __init__(self, digest: Any) -> None:
        self._digest = digest

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._digest.update(data)
        return len(data)


def _holds(file: Path, rows: int) -> bool:
    """Whether `file` is a block of so many rows of the source."""
    try:
        found = sum(pyarrow.compute.count_distinct(batch.column("row")).as_py() for batch in _Batches(file))
        return bool(found == rows)
    except (FileNotFoundError, pyarrow.ArrowInvalid):
        return False


def _as_file(batch: pyarrow.RecordBatch) -> bytes:
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    content: bytes = sink.getvalue().to_pybytes()
    return content


class _Batches:
    """The blocks of an Arrow file, each read when it is its turn: a mapped file would stay in memory as it is read."""

    def __init__(self, file: Path) -> None:
        self._reader = pyarrow.ipc.open_file(pyarrow.OSFile(str(file)))
        self.schema = self._reader.schema

    def __iter__(self) -> Iterator[pyarrow.RecordBatch]:
        return (self._reader.get_batch(number) for number in range(self._reader.num_record_batches))
