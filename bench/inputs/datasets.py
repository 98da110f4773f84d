"""Tokenized rows: written once per task and tokenizer by `prepare_task`, and only read by cells (`open_data`).

A folder in the cache holds one Arrow file per split, with the columns input_ids, target, label_ids (empty where the
model generates nothing), row, where the model is told segments token_type_ids, and what rows with options
(bench/inputs/prompts.py), windows (bench/inputs/windows.py) and images (bench/inputs/images.py) have beside these. A
manifest is written last. The same rows and tokenizer give the same fingerprint. A file that no longer matches the
manifest is refused.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.config.backbone import Backbone
from bench.config.cell import DataChoice
from bench.config.task import Task
from bench.errors import BenchError
from bench.files import canonical_json, digest, digest_json, folder_in_one_step
from bench.inputs.backbones import open_backbone
from bench.inputs.cache_keys import backbone_folder, data_folder
from bench.inputs.generated import check_generated
from bench.inputs.images import ImageEncoder, check_image_size
from bench.inputs.languages import set_languages
from bench.inputs.model_fit import check_prepared
from bench.inputs.origin import change_of_data, check_unchanged, files_of_data, read_origin, states_of, write_origin
from bench.inputs.prompts import check_prompts
from bench.inputs.reader import Reader, check_vocabulary, load_image_processor, load_processor, load_tokenizer
from bench.inputs.reference_answers import check_reference_answers
from bench.inputs.repeated_options import REPEATED
from bench.inputs.segments import has_segments
from bench.inputs.sources import Source, read_source
from bench.inputs.splits import Split, open_split, split_file
from bench.inputs.tokenize import (
    RowEncoder,
    Tokenizer,
    check_lengths,
    count_rows,
    join_blocks,
    rows_digest,
    write_blocks,
)
from bench.inputs.windows import check_windows
from bench.lease import lease
from bench.log import progress_bar
from bench.paths import MANIFEST, MODEL_CONFIG, CachePaths


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
    segments: bool | None = None,
) -> Path:
    """Read, check and tokenize the rows of `task`, unless that is done; return their folder.

    The backbone, which must be prepared, reads them unless there is another `reader`. What an interrupted preparation
    finished is used. `segments`: what `check_reader` returned, if it was called before. Raises BenchError that names
    data set, split and row where something is wrong with the rows, or the tokenizer where it does not fit the model.
    """
    folder = data_folder(task, backbone, choice, mirror, cache, reader.key if reader else None)
    prepared = backbone_folder(backbone, mirror, cache)
    open_backbone(prepared, backbone)
    reader = reader or Reader(prepared, prepared)
    if _is_prepared(folder, task, choice, mirror, reader):
        return folder
    preparing = CachePaths(cache).preparing(folder.name)
    with lease(preparing):
        if not _is_prepared(folder, task, choice, mirror, reader):  # by the process that held the lease
            if segments is None:
                segments = check_reader(task, backbone, reader)
            _prepare(folder, task, choice, mirror, reader, segments, preparing)
    return folder


def is_prepared(task: Task, backbone: Backbone, choice: DataChoice, mirror: Path | None, cache: Path) -> bool:
    """Whether `prepare_task` would leave the rows as they are. Raises BenchError if the backbone is not prepared."""
    model = backbone_folder(backbone, mirror, cache)
    open_backbone(model, backbone)
    folder = data_folder(task, backbone, choice, mirror, cache)
    return _is_prepared(folder, task, choice, mirror, Reader(model, model))


def check_reader(task: Task, backbone: Backbone, reader: Reader) -> bool:
    """Hold task, tokenizer and model against each other; return whether the model is told segments.

    It asks the model's class, whose libraries take more memory than tokenizing does. Raises BenchError where they do
    not fit.
    """
    check_prepared(task, backbone, reader.model)
    if task.facts.input == "image":
        config = json.loads((reader.model / MODEL_CONFIG).read_bytes())
        check_image_size(task, load_image_processor(reader.tokenizer), config)
        return False
    tokenizer = load_tokenizer(reader.tokenizer)
    check_vocabulary(tokenizer, reader)
    check_prompts(task, tokenizer)
    set_languages(task, tokenizer)
    check_windows(task, tokenizer)
    check_generated(task, reader.model, tokenizer)
    return has_segments(task, tokenizer, reader.model)


def _is_prepared(folder: Path, task: Task, choice: DataChoice, mirror: Path | None, reader: Reader) -> bool:
    """Whether `folder` holds the rows as they are now in their source, read by `reader` as it is now."""
    if not (folder / MANIFEST).is_file() or change_of_data(folder, task, choice, mirror) is not None:
        return False
    try:
        return bool(read_manifest(folder).get("reader") == reader.key)
    except BenchError:
        return False


def _prepare(
    folder: Path,
    task: Task,
    choice: DataChoice,
    mirror: Path | None,
    reader: Reader,
    segments: bool,
    preparing: Path,
) -> None:
    origin_files = files_of_data(task, choice, mirror)
    origin = states_of(origin_files, read_origin(folder))
    source = read_source(task, choice, mirror)
    plain = load_processor(task, reader.tokenizer)
    images = task.facts.input == "image"
    tokenizer: RowEncoder = ImageEncoder(task, plain) if images else Tokenizer(task, plain, segments=segments)
    blocks = _tokenized(source, tokenizer, preparing / _key(source, reader))
    check_unchanged(origin_files, origin)
    with folder_in_one_step(folder) as new:
        splits = {}
        for name, files in blocks.items():
            file = split_file(new, name)
            join_blocks(files, file)
            check_lengths(file, tokenizer, f"{task.data_title}, split {name!r}")
            splits[name] = {"rows": count_rows(file), "sha256": digest(file), "content": rows_digest(file)}
        check_reference_answers(
            task, {name: open_split(split_file(new, name)).targets for name in task.data.evaluation}
        )
        content = {
            "splits": splits,
            "evaluation": list(task.data.evaluation),
            "synthetic": source.synthetic,
            "revision": source.revision,
            "files": source.files,
            "hub": task.data.hub,
            **_other_set(task, source),
            "tokenizer_sha256": reader.tokenizer_sha256,
            "dropped_unlabelled": {name: split.dropped for name, split in source.splits.items() if split.dropped},
            "reader": reader.key,
            **_repeated(source),
            # Only where it is not the usual side, so that the fingerprints of other rows stay what they were.
            **({"padding_side": "left"} if getattr(plain, "padding_side", None) == "left" else {}),
        }
        content["fingerprint"] = _fingerprint(content)
        write_origin(new, origin)
        (new / MANIFEST).write_bytes(canonical_json({**content, "sha256": digest_json(content)}))
    _remove_blocks(preparing)


def open_data(folder: Path, *, evaluation: bool = True) -> PreparedData:
    """Read the prepared rows in `folder`. Raises BenchError where a file is missing or not what was prepared.

    Without `evaluation` the training split alone is opened and checked: the files of the others are not looked at.
    """
    manifest = read_manifest(folder)
    evaluated = manifest["evaluation"] if evaluation else []
    splits = {}
    for name in dict.fromkeys(("train", *evaluated)):
        entry = manifest["splits"][name]
        file = split_file(folder, name)
        if not file.is_file():
            raise BenchError(f"{file} is missing: {_advice(folder)}")
        if digest(file) != entry["sha256"]:
            raise BenchError(f"{file} is not what was prepared (its SHA-256 differs): {_advice(folder)}")
        splits[name] = open_split(file)
    return PreparedData(splits["train"], {name: splits[name] for name in evaluated}, manifest)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a data folder. Raises BenchError where it is missing or was changed."""
    file = folder / MANIFEST
    if not file.is_file():
        raise BenchError(f"no prepared data: {file} is missing; {_advice(folder)}")
    try:
        manifest: dict[str, Any] = json.loads(file.read_bytes())
        content = {key: value for key, value in manifest.items() if key != "sha256"}
        is_whole = manifest.get("sha256") == digest_json(content)
    except (ValueError, AttributeError) as error:
        raise BenchError(f"{file} is no manifest ({error}): {_advice(folder)}") from error
    if not is_whole:
        raise BenchError(f"{file}: its content does not match its hash; {_advice(folder)}")
    return manifest


def recorded_data(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What a record says of the rows, from the manifest of their folder."""
    said = {key: manifest[key] for key in ("fingerprint", "synthetic", "revision", "files", "hub")}
    said |= {key: manifest[key] for key in ("evaluation_hub", "evaluation_revision") if key in manifest}
    return said | {key: manifest[key] for key in ("dropped_unlabelled", REPEATED) if manifest.get(key)}


def _other_set(task: Task, source: Source) -> dict[str, Any]:
    """For the manifest: the data set of the evaluation splits, where it is not that of the training rows."""
    other = task.data.evaluation_from
    return {"evaluation_hub": other.hub, "evaluation_revision": source.evaluation_revision} if other else {}


def _repeated(source: Source) -> dict[str, Any]:
    """For the manifest: by split, the rows that were left out for their options, where there are any."""
    counts = {name: split.repeated for name, split in source.splits.items() if split.repeated}
    return {REPEATED: counts} if counts else {}


def _advice(folder: Path) -> str:
    return f"remove {folder} and run `bench prepare STUDY` (it needs the network or the mirror)"


def _fingerprint(content: Mapping[str, Any]) -> str:
    """The hash of the rows and of what they were tokenized with, for the identity of cells."""
    deciding = {key: content[key] for key in ("evaluation", "tokenizer_sha256", "padding_side") if key in content}
    splits = {name: {"rows": entry["rows"], "sha256": entry["content"]} for name, entry in content["splits"].items()}
    return digest(canonical_json({**deciding, "splits": splits}))


def _key(source: Source, reader: Reader) -> str:
    """The name for blocks of rows: a hash of what decides their content beside the configuration."""
    versions = {package: version(package) for package in ("transformers", "tokenizers", "pyarrow")}
    rows = {name: len(split) for name, split in source.splits.items()}
    return digest_json({"files": source.files, "rows": rows, "reader": reader.key, "versions": versions})[:12]


def _tokenized(source: Source, tokenizer: RowEncoder, folder: Path) -> dict[str, list[Path]]:
    """The files of each split's blocks below `folder`. Blocks of another source or tokenizer are removed first."""
    _remove_blocks(folder.parent, but=folder)
    total = sum(len(split) for split in source.splits.values())
    with progress_bar(total, what=f"{tokenizer.task.name}, tokenization: ", unit="row") as bar:
        return {name: write_blocks(split, tokenizer, folder, bar) for name, split in source.splits.items()}


def _remove_blocks(preparing: Path, but: Path | None = None) -> None:
    for folder in preparing.iterdir():
        if folder.is_dir() and folder != but:
            shutil.rmtree(folder)
