"""Tokenized rows: written once per task and tokenizer by `prepare_task`, and only read by cells (`open_data`).

A folder in the cache holds one parquet file per split, with the columns input_ids, target, label_ids (empty where the
model generates nothing), row and, where the model is told segments, token_type_ids. A manifest is written last. The
same rows and tokenizer give the same fingerprint. A file that no longer matches the manifest is refused.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow
import pyarrow.parquet

from bench.config.backbone import Backbone
from bench.config.cell import DataChoice
from bench.config.generation import position_fault
from bench.config.task import Task
from bench.errors import BenchError
from bench.files import canonical_json, digest, folder_in_one_step
from bench.inputs.backbones import open_backbone
from bench.inputs.cache_keys import backbone_folder, data_folder
from bench.inputs.reader import Reader, check_vocabulary, load_tokenizer
from bench.inputs.rows import Rows
from bench.inputs.segments import SEGMENT_IDS, has_segments
from bench.inputs.sources import all_rows, read_source
from bench.paths import MANIFEST, MODEL_CONFIG

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Split:
    """The rows of one split."""

    input_ids: list[np.ndarray]  # one int32 array per row
    targets: list[Any]  # class indices, numbers or target texts
    label_ids: list[np.ndarray]  # tokens of the target texts; empty arrays where the model generates nothing
    rows: list[int]  # number of each row in the source
    segment_ids: list[np.ndarray] | None = None  # beside each token id; None where the model is told no segments

    def __len__(self) -> int:
        return len(self.input_ids)


@dataclass(frozen=True)
class PreparedData:
    """The splits of a task: the rows for training, and those for evaluation by the task's name of the split."""

    train: Split
    evaluation: dict[str, Split]
    manifest: dict[str, Any]


def prepare_task(
    task: Task,
    backbone: Backbone,
    choice: DataChoice,
    *,
    mirror: Path | None,
    cache: Path,
    reader: Reader | None = None,
) -> Path:
    """Read, check and tokenize the rows of `task`, unless that is done; return their folder.

    The backbone, which must be prepared, reads them unless there is another `reader`. Raises BenchError that names the
    data set, split and row where something is wrong with the rows, or the tokenizer where it does not fit the model.
    """
    folder = data_folder(task, backbone, choice, mirror, cache, reader.key if reader else None)
    if (folder / MANIFEST).is_file():
        return folder
    prepared = backbone_folder(backbone, mirror, cache)
    open_backbone(prepared, backbone)
    reader = reader or Reader(prepared, prepared)
    _check_length(task, backbone, reader.model)
    source = read_source(task, choice, mirror)
    tokenizer = load_tokenizer(reader.tokenizer)
    check_vocabulary(tokenizer, reader)
    segments = has_segments(task, tokenizer, reader.model)
    with folder_in_one_step(folder) as new:
        splits = {}
        for name, rows in source.splits.items():
            _write(new / f"{name}.parquet", _tokenized(task, name, all_rows(rows), tokenizer, segments))
            splits[name] = {"rows": len(rows), "sha256": digest(new / f"{name}.parquet")}
        content = {
            "splits": splits,
            "evaluation": list(task.data.evaluation),
            "synthetic": source.synthetic,
            "revision": source.revision,
            "files": source.files,
            "hub": task.data.hub,
            "tokenizer_sha256": reader.tokenizer_sha256,
            # Only where it is not the usual side, so that the fingerprints of other rows stay what they were.
            **({"padding_side": "left"} if tokenizer.padding_side == "left" else {}),
        }
        fingerprint = _fingerprint(content)
        (new / MANIFEST).write_bytes(canonical_json({**content, "fingerprint": fingerprint}))
    return folder


def open_data(folder: Path) -> PreparedData:
    """Read the prepared rows in `folder`. Raises BenchError where a file is missing or not what was prepared."""
    manifest = read_manifest(folder)
    splits = {}
    for name, entry in manifest["splits"].items():
        file = folder / f"{name}.parquet"
        if not file.is_file():
            raise BenchError(f"{file} is missing: {_advice(folder)}")
        if digest(file) != entry["sha256"]:
            raise BenchError(f"{file} is not what was prepared (its SHA-256 differs): {_advice(folder)}")
        splits[name] = _open(file)
    return PreparedData(splits["train"], {name: splits[name] for name in manifest["evaluation"]}, manifest)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a data folder. Raises BenchError where it is missing or was changed."""
    file = folder / MANIFEST
    if not file.is_file():
        raise BenchError(f"no prepared data: {file} is missing; {_advice(folder)}")
    try:
        manifest: dict[str, Any] = json.loads(file.read_bytes())
        content = {key: value for key, value in manifest.items() if key != "fingerprint"}
        is_whole = manifest.get("fingerprint") == _fingerprint(content)
    except (ValueError, AttributeError) as error:
        raise BenchError(f"{file} is no manifest ({error}): {_advice(folder)}") from error
    if not is_whole:
        raise BenchError(f"{file}: its content does not match its fingerprint; {_advice(folder)}")
    return manifest


def _check_length(task: Task, backbone: Backbone, model: Path) -> None:
    """Raises BenchError where rows may be longer than the model has positions."""
    config = json.loads((model / MODEL_CONFIG).read_bytes())
    positions = config.get("max_position_embeddings")
    # Positions that are only relative set no limit: DeBERTa-v3 has position_biased_input = false.
    is_limit = isinstance(positions, int) and positions > 0 and config.get("position_biased_input") is not False
    if is_limit and task.recipe.max_length > positions:
        raise BenchError(
            f"task {task.name!r}: recipe.max_length is {task.recipe.max_length}, but backbone {backbone.name!r} has "
            f"{positions} positions (max_position_embeddings): lower recipe.max_length"
        )
    fault = position_fault(task.generation, config)
    if fault:
        raise BenchError(f"task {task.name!r}: {fault} of backbone {backbone.name!r}")


def _advice(folder: Path) -> str:
    return f"remove {folder} and run `bench prepare STUDY` (it needs the network or the mirror)"


def _fingerprint(content: dict[str, Any]) -> str:
    deciding = ("splits", "evaluation", "tokenizer_sha256", "padding_side")
    return digest(canonical_json({key: content[key] for key in deciding if key in content}))


def _tokenized(
    task: Task, name: str, rows: Rows, tokenizer: PreTrainedTokenizerBase, segments: bool
) -> dict[str, list[Any]]:
    """The columns of a split's parquet file. Raises BenchError where truncation leaves no row a token."""
    texts = [[task.prefix + row[0], *row[1:]] for row in rows.texts]
    columns = [list(column) for column in zip(*texts, strict=True)]
    encoded = tokenizer(*columns, truncation=True, max_length=task.recipe.max_length)
    ids = encoded["input_ids"]
    empty = len(tokenizer("")["input_ids"])  # special tokens alone
    if all(len(row) <= empty for row in ids):
        raise BenchError(f"{task.data.title}, split {name!r}: no row has a token left at {task.recipe.max_length}")
    labels: list[list[int]] = []
    targets = rows.targets
    if task.generates:
        targets = targets if task.kind == "summarization" else [task.labels[index] for index in targets]
        labels = tokenizer(text_target=targets, truncation=True, max_length=task.recipe.max_target_length)["input_ids"]
    table = {"input_ids": ids, "target": targets, "label_ids": labels or [[] for _ in ids], "row": rows.numbers}
    return {**table, SEGMENT_IDS: encoded[SEGMENT_IDS]} if segments else table


def _write(file: Path, columns: dict[str, list[Any]]) -> None:
    ids = pyarrow.list_(pyarrow.int32())
    arrays = {
        "input_ids": pyarrow.array(columns["input_ids"], ids),
        "target": pyarrow.array(columns["target"]),
        "label_ids": pyarrow.array(columns["label_ids"], ids),
        "row": pyarrow.array(columns["row"], pyarrow.int64()),
    }
    if SEGMENT_IDS in columns:
        arrays[SEGMENT_IDS] = pyarrow.array(columns[SEGMENT_IDS], ids)
    pyarrow.parquet.write_table(pyarrow.table(arrays), file, compression="zstd")


def _open(file: Path) -> Split:
    table = pyarrow.parquet.ParquetFile(file).read()  # pyarrow.parquet.read_table would import pandas
    return Split(
        input_ids=_arrays(table.column("input_ids")),
        targets=table.column("target").to_pylist(),
        label_ids=_arrays(table.column("label_ids")),
        rows=table.column("row").to_pylist(),
        segment_ids=_arrays(table.column(SEGMENT_IDS)) if SEGMENT_IDS in table.column_names else None,
    )


def _arrays(column: pyarrow.ChunkedArray) -> list[np.ndarray]:
    """One array per row, each a view of the column's memory."""
    arrays: list[np.ndarray] = []
    for chunk in column.chunks:
        values = chunk.values.to_numpy(zero_copy_only=False)
        arrays += [values[start:end] for start, end in itertools.pairwise(chunk.offsets.to_numpy())]
    return arrays
