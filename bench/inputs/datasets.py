"""Tokenized rows: written once a task and tokenizer by `prepare_task`, only read by cells (`open_data`).

A folder holds a parquet file a split (input_ids, target, label_ids where the model generates, row) and manifest.json,
written last. The same rows and tokenizer give the same fingerprint; a file that no longer matches it is refused.
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
from bench.config.task import Task
from bench.errors import BenchError
from bench.files import canonical_json, digest, folder_in_one_step
from bench.inputs.backbones import open_backbone
from bench.inputs.cache_keys import backbone_folder, data_folder
from bench.inputs.sources import Rows, read_source
from bench.paths import MANIFEST

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Split:
    """One split. `input_ids`: an int32 array a row; `targets`: class indices, numbers or target texts; `label_ids`:
    int32 arrays of target tokens, empty where the model generates nothing; `rows`: row numbers in the source."""

    input_ids: list[np.ndarray]
    targets: list[Any]
    label_ids: list[np.ndarray]
    rows: list[int]

    def __len__(self) -> int:
        return len(self.input_ids)


@dataclass(frozen=True)
class PreparedData:
    train: Split
    evaluation: dict[str, Split]
    manifest: dict[str, Any]


def prepare_task(task: Task, backbone: Backbone, choice: DataChoice, *, mirror: Path | None, cache: Path) -> Path:
    """Read, check and tokenize the rows of `task` where that is not done yet; the folder. Raises BenchError."""
    folder = data_folder(task, backbone, choice, mirror, cache)
    if (folder / MANIFEST).is_file():
        return folder
    model = backbone_folder(backbone, mirror, cache)
    open_backbone(model, backbone)
    _check_length(task, backbone, model)
    source = read_source(task, choice, mirror)
    tokenizer = load_tokenizer(model)
    with folder_in_one_step(folder) as new:
        splits = {}
        for name, rows in source.splits.items():
            _write(new / f"{name}.parquet", _tokenized(task, name, rows, tokenizer))
            splits[name] = {"rows": len(rows.targets), "sha256": digest(new / f"{name}.parquet")}
        content = {
            "splits": splits,
            "evaluation": list(task.data.evaluation),
            "synthetic": source.synthetic,
            "revision": source.revision,
            "files": source.files,
            "hub": task.data.hub,
            "tokenizer_sha256": digest(model / "tokenizer.json"),
        }
        fingerprint = _fingerprint(content)
        (new / MANIFEST).write_bytes(canonical_json({**content, "fingerprint": fingerprint}))
    return folder


def open_data(folder: Path) -> PreparedData:
    """The prepared rows in `folder`, read only. Raises BenchError: missing, or no longer what was prepared."""
    manifest = read_manifest(folder)
    splits = {}
    for name, facts in manifest["splits"].items():
        file = folder / f"{name}.parquet"
        if not file.is_file():
            raise BenchError(f"{file} is missing: {_again(folder)}")
        if digest(file) != facts["sha256"]:
            raise BenchError(f"{file} is not what was prepared (its SHA-256 differs): {_again(folder)}")
        splits[name] = _open(file)
    return PreparedData(splits["train"], {name: splits[name] for name in manifest["evaluation"]}, manifest)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a data folder. Raises BenchError where there is none or its fingerprint is not its own."""
    file = folder / MANIFEST
    if not file.is_file():
        raise BenchError(f"no prepared data: {file} is missing; {_again(folder)}")
    try:
        manifest: dict[str, Any] = json.loads(file.read_bytes())
        content = {key: value for key, value in manifest.items() if key != "fingerprint"}
        good = manifest.get("fingerprint") == _fingerprint(content)
    except (ValueError, AttributeError) as error:
        raise BenchError(f"{file} is no manifest ({error}): {_again(folder)}") from error
    if not good:
        raise BenchError(f"{file}: its content does not match its fingerprint; {_again(folder)}")
    return manifest


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a prepared model: its tokenizer.json, nothing from the network, no code of its own."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def _check_length(task: Task, backbone: Backbone, model: Path) -> None:
    """Raises BenchError for rows longer than the model has positions; relative positions alone are no bound."""
    config = json.loads((model / "config.json").read_bytes())
    positions = config.get("max_position_embeddings")
    bounded = isinstance(positions, int) and positions > 0 and config.get("position_biased_input") is not False
    if bounded and task.recipe.max_length > positions:
        raise BenchError(
            f"task {task.name!r}: recipe.max_length is {task.recipe.max_length}, but backbone {backbone.name!r} has "
            f"{positions} positions (max_position_embeddings): lower recipe.max_length"
        )


def _again(folder: Path) -> str:
    return f"remove {folder} and run `bench prepare STUDY` (it needs the network or the mirror)"


def _fingerprint(content: dict[str, Any]) -> str:
    return digest(canonical_json({k: content[k] for k in ("splits", "evaluation", "tokenizer_sha256")}))


def _tokenized(task: Task, name: str, rows: Rows, tokenizer: PreTrainedTokenizerBase) -> dict[str, list[Any]]:
    texts = [[task.prefix + row[0], *row[1:]] for row in rows.texts]
    columns = [list(column) for column in zip(*texts, strict=True)]
    ids = tokenizer(*columns, truncation=True, max_length=task.recipe.max_length)["input_ids"]
    empty = len(tokenizer("")["input_ids"])
    if all(len(row) <= empty for row in ids):
        raise BenchError(
            f"data set {task.data.hub}, split {name!r}: no row has a token left at {task.recipe.max_length}"
        )
    labels: list[list[int]] = []
    targets = rows.targets
    if task.generates:
        words = targets if task.kind == "summarization" else [task.labels[index] for index in targets]
        labels = tokenizer(text_target=words, truncation=True, max_length=task.recipe.max_target_length)["input_ids"]
        targets = words
    return {"input_ids": ids, "target": targets, "label_ids": labels or [[] for _ in ids], "row": rows.numbers}


def _write(file: Path, columns: dict[str, list[Any]]) -> None:
    ids = pyarrow.list_(pyarrow.int32())
    arrays = {
        "input_ids": pyarrow.array(columns["input_ids"], ids),
        "target": pyarrow.array(columns["target"]),
        "label_ids": pyarrow.array(columns["label_ids"], ids),
        "row": pyarrow.array(columns["row"], pyarrow.int64()),
    }
    pyarrow.parquet.write_table(pyarrow.table(arrays), file, compression="zstd")


def _open(file: Path) -> Split:
    table = pyarrow.parquet.ParquetFile(file).read()  # read_table imports pandas
    return Split(
        input_ids=_arrays(table.column("input_ids")),
        targets=table.column("target").to_pylist(),
        label_ids=_arrays(table.column("label_ids")),
        rows=table.column("row").to_pylist(),
    )


def _arrays(column: pyarrow.ChunkedArray) -> list[np.ndarray]:
    arrays: list[np.ndarray] = []
    for chunk in column.chunks:
        values = chunk.values.to_numpy(zero_copy_only=False)
        offsets = chunk.offsets.to_numpy()
        arrays += [values[a:b] for a, b in itertools.pairwise(offsets)]
    return arrays
