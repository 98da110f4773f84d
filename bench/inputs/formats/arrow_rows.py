"""The rows of a parquet or Arrow file, in blocks of columns."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pyarrow
import pyarrow.compute
import pyarrow.ipc
import pyarrow.parquet

from bench.errors import BenchError, nearest
from bench.inputs.formats.rows import BLOCK, Block
from bench.inputs.locate.dataset_card import class_names_in

if TYPE_CHECKING:
    from pyarrow import RecordBatch, Schema


PIECE = 2**20  # bytes of a column that are read at once


def parquet_blocks(file: Path, stream: IO[bytes], columns: Sequence[str]) -> Iterator[Block]:
    """The rows of a parquet file. Raises BenchError where it lacks a column."""
    # Read in pieces: without these options Arrow first takes in a whole row group, which may be the whole file.
    parquet = pyarrow.parquet.ParquetFile(_path_of(stream) or stream, pre_buffer=False, buffer_size=PIECE)
    tops = _check_columns(file, parquet.schema_arrow, columns)
    for batch in parquet.iter_batches(BLOCK, columns=tops):
        yield _block(batch, columns)


def arrow_blocks(file: Path, stream: IO[bytes], columns: Sequence[str]) -> Iterator[Block]:
    """The rows of an Arrow file, which is an IPC file or an IPC stream. Raises BenchError where it lacks a column."""
    reader = _arrow_reader(stream)
    _check_columns(file, reader.schema, columns)
    batches = (
        (reader.get_batch(i) for i in range(reader.num_record_batches))
        if isinstance(reader, pyarrow.ipc.RecordBatchFileReader)
        else reader
    )
    for batch in batches:
        batch.validate(full=True)  # a damaged file may hold lengths that lead out of memory
        for start in range(0, batch.num_rows, BLOCK):
            yield _block(batch.slice(start, BLOCK), columns)


def class_names(stream: IO[bytes], form: str, column: str) -> list[str] | None:
    """The names of the classes in `column`, which the library datasets writes into the schema; None without them."""
    if form == "parquet":
        schema = pyarrow.parquet.ParquetFile(_path_of(stream) or stream).schema_arrow
    else:
        schema = _arrow_reader(stream).schema
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return None
    return class_names_in(features, column) if isinstance(features, dict) else None


def _arrow_reader(stream: IO[bytes]) -> Any:
    start = stream.read(6)
    stream.seek(0)
    path = _path_of(stream)
    source = pyarrow.memory_map(path) if path else pyarrow.PythonFile(stream, mode="r")
    return pyarrow.ipc.open_file(source) if start == b"ARROW1" else pyarrow.ipc.open_stream(source)


def _path_of(stream: IO[bytes]) -> str | None:
    """The path of a file of its own, which Arrow reads faster than a stream of Python; None for unpacked bytes."""
    name = getattr(stream, "name", None)
    return name if isinstance(name, str) else None


def _check_columns(file: Path, schema: Schema, columns: Sequence[str]) -> list[str]:
    """The columns of the file that hold `columns`, which may name a field of a nested one (`translation.en`).

    Raises BenchError where one is missing or is there twice.
    """
    tops = []
    for column in columns:
        top = column if column in schema.names else column.partition(".")[0]
        if top not in schema.names:
            found = ", ".join(schema.names)
            raise BenchError(f"expected the column {column!r}, found {found}{nearest(column, schema.names)} ({file})")
        if schema.names.count(top) > 1:
            raise BenchError(f"the column {top!r} is there {schema.names.count(top)} times ({file})")
        kind = schema.field(top).type
        for name in column.split(".")[1:] if top != column else []:
            fields = [field.name for field in kind] if pyarrow.types.is_struct(kind) else []
            if name not in fields:
                raise BenchError(f"column {top!r} has no field {name!r}{nearest(name, fields)} ({file})")
            kind = kind.field(name).type
        tops.append(top)
    return list(dict.fromkeys(tops))


def _block(batch: RecordBatch, columns: Sequence[str]) -> Block:
    values = []
    for column in columns:
        if column in batch.schema.names:
            array = batch.column(column)
        else:
            top, *path = column.split(".")
            array = pyarrow.compute.struct_field(batch.column(top), path)
        values.append(array.to_pylist())
    return Block(values)
