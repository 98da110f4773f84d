"""Put a backbone on disk, from the hub, a mirror, a folder or a package, or trained here. Cells only read it, offline.

A model's folder in the cache holds config.json, the weights as safetensors, the tokenizer, and a manifest with the
SHA-256 of each file, which is written last. No code of a model is taken. A pickle is taken only where a model has no
safetensors: it is read as tensors alone, without running anything in it, and converted once.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.config.backbone import Backbone
from bench.errors import BenchError
from bench.files import canonical_json, digest, folder_in_one_step
from bench.inputs.cache_keys import backbone_folder
from bench.inputs.gguf_models import convert_gguf
from bench.inputs.hub import fetch_model
from bench.inputs.model_files import (
    FAST_TOKENIZER,
    FILES,
    IMAGE_PROCESSOR,
    PICKLED_WEIGHTS,
    SAFETENSORS,
    SHARD_INDEX,
    TOKENIZERS,
    files_of,
    local_folder,
)
from bench.inputs.origin import FileState, change_of_model, check_unchanged, states_of, write_origin
from bench.inputs.padding import settle_padding
from bench.lease import lease
from bench.paths import MANIFEST, MODEL_CONFIG, MODEL_WEIGHTS, CachePaths

GGUF = ".gguf"
CONVERTED = (PICKLED_WEIGHTS, GGUF)  # ends of the names of files that are not copied as they are
WEIGHTS = (".safetensors", GGUF)


def prepare_backbone(backbone: Backbone, *, mirror: Path | None, cache: Path) -> Path:
    """Put the files of the model in its folder of the cache, unless they are there unchanged; return the folder.

    With `mirror`, what the backbone names on the hub is read from there and no network is used. Raises BenchError where
    the source lacks config, weights or tokenizer, or holds what is not read.
    """
    folder = backbone_folder(backbone, mirror, cache)
    if _is_prepared(folder, backbone, mirror):
        return folder
    with lease(CachePaths(cache).preparing(folder.name)):
        if not _is_prepared(folder, backbone, mirror):  # by the process that held the lease
            _prepare(folder, backbone, mirror)
    return folder


def _is_prepared(folder: Path, backbone: Backbone, mirror: Path | None) -> bool:
    return (folder / MANIFEST).is_file() and change_of_model(folder, backbone, mirror) is None


def _prepare(folder: Path, backbone: Backbone, mirror: Path | None) -> None:
    with folder_in_one_step(folder) as new:
        revision: str | None = None
        taken: dict[str, FileState] = {}
        if backbone.built is not None:
            from bench.inputs.tiny_models import build

            build(backbone, new)
        elif (source := local_folder(backbone, mirror)) is not None:
            taken = _take(backbone, source, new)
        else:
            source, revision = fetch_model(
                backbone.hub or "", backbone.revision, [*FILES, SAFETENSORS], otherwise=PICKLED_WEIGHTS
            )
            taken = _take(backbone, source, new)
        converted = {name: state.sha256 for name, state in taken.items() if name.endswith(CONVERTED)}
        _check_weights(new, backbone.name)
        if backbone.input == "image":
            _check_image_processor(new, backbone.name)
        elif not (new / FAST_TOKENIZER).is_file():
            _save_fast_tokenizer(new, backbone)
        pad = settle_padding(new)
        files = {path.name: digest(path) for path in sorted(new.iterdir())}
        manifest = {"revision": revision, "files": files, **({"converted": converted} if converted else {})}
        if pad is not None:
            manifest["pad_token"] = pad
        write_origin(new, taken if revision is None else {})  # a commit of the hub stays what it is
        (new / MANIFEST).write_bytes(canonical_json(manifest))


def _take(backbone: Backbone, source: Path, folder: Path) -> dict[str, FileState]:
    """Copy the files of a model from `source`, a pickle or a GGUF file as safetensors; return what they were."""
    files = files_of(backbone, source)
    missing = next((file for file in files.values() if not file.is_file()), None)
    if missing is not None:
        raise BenchError(f"backbone {backbone.name!r}: {missing} is missing")
    states = states_of(files, {})
    weights = [state.sha256 for name, state in states.items() if name.endswith(WEIGHTS)]
    if backbone.package and weights[:1] != [backbone.package.sha256]:  # before anything in them is read
        raise BenchError(f"backbone {backbone.name!r}: its weights do not have the SHA-256 of its file")
    for name, file in files.items():
        if name == PICKLED_WEIGHTS:
            _convert_pickle(file, folder / MODEL_WEIGHTS)
        elif name.endswith(GGUF):
            convert_gguf(file, folder, backbone.name)
        else:
            shutil.copyfile(file, folder / name)
    check_unchanged(files, states)
    return states


def open_backbone(folder: Path, backbone: Backbone) -> dict[str, Any]:
    """The manifest of a prepared model. Raises BenchError where it or a file that it lists is missing."""
    file = folder / MANIFEST
    if not file.is_file():
        raise BenchError(
            f"backbone {backbone.name!r} is not prepared: {file} is missing; run `bench prepare STUDY` where the "
            "network or the mirror is"
        )
    try:
        manifest: dict[str, Any] = json.loads(file.read_bytes())
        missing = [name for name in manifest["files"] if not (folder / name).is_file()]
    except (ValueError, LookupError, TypeError) as error:
        raise BenchError(f"{file} is no manifest ({type(error).__name__}: {error}): {_advice(folder)}") from error
    if missing:
        raise BenchError(
            f"backbone {backbone.name!r}: {', '.join(missing)} missing, named in {file}: {_advice(folder)}"
        )
    return manifest


def check_backbone(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Compare every file of a prepared model with its manifest. Raises BenchError where one has changed."""
    for name, sha256 in manifest["files"].items():
        if digest(folder / name) != sha256:
            raise BenchError(f"{folder / name} is not what was prepared (its SHA-256 differs): {_advice(folder)}")


def _advice(folder: Path) -> str:
    return f"remove {folder} and run `bench prepare STUDY` (it needs the network, the mirror or the package)"


def _save_fast_tokenizer(folder: Path, backbone: Backbone) -> None:
    """Convert a SentencePiece or vocabulary tokenizer once, so that every cell reads tokenizer.json alone.

    One that has no such form, as M2M100's, is left as it is. Raises BenchError where there is none, or a broken one.
    """
    from transformers import AutoTokenizer

    files = [name for name in TOKENIZERS if (folder / name).is_file()]
    if not files or (files == ["vocab.json"] and not (folder / "merges.txt").is_file()):
        raise BenchError(
            f"backbone {backbone.name!r}: no tokenizer among its files; expected one of {', '.join(TOKENIZERS)} "
            "(vocab.json goes with merges.txt)"
        )
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if not tokenizer.is_fast:
        return
    tokenizer.save_pretrained(folder)
    if not (folder / FAST_TOKENIZER).is_file():
        raise BenchError(f"backbone {backbone.name!r}: its {', '.join(files)} can't be converted to {FAST_TOKENIZER}")


def _check_image_processor(folder: Path, name: str) -> None:
    """Raises BenchError where nothing says how the backbone `name` wants its images."""
    if not (folder / IMAGE_PROCESSOR).is_file():
        raise BenchError(f"backbone {name!r}: no {IMAGE_PROCESSOR} among its files, which says how images are read")


def _convert_pickle(file: Path, target: Path) -> None:
    """Write the tensors of the pickle `file` as safetensors, without running anything that is in it.

    Raises BenchError where it holds anything but plain CPU tensors by name.
    """
    import torch
    from safetensors.torch import save_file

    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a file that was tampered with may raise anything
        raise BenchError(
            f"{file}: no safetensors weights, and this file is refused: it can't be read as tensors alone, and nothing "
            f"else in it is run ({type(error).__name__})"
        ) from error
    if not isinstance(state, dict) or not state:
        raise BenchError(f"{file} is refused: it should hold tensors by name, found {type(state).__name__}")
    for name, value in state.items():
        is_plain = torch.is_tensor(value) and value.layout == torch.strided and value.device.type == "cpu"
        if not isinstance(name, str) or not is_plain or value.is_quantized:
            raise BenchError(f"{file} is refused: {name!r} is no plain tensor, but {type(value).__name__}")
    # safetensors refuses tensors that share memory, as tied weights do in a pickle.
    copies = {name: value.detach().clone(memory_format=torch.contiguous_format) for name, value in state.items()}
    save_file(copies, target, metadata={"format": "pt"})


def _check_weights(folder: Path, name: str) -> None:
    """Raises BenchError where the backbone `name` lacks config.json, weights, or a shard that its index lists."""
    has_weights = any((folder / file).is_file() for file in (MODEL_WEIGHTS, SHARD_INDEX))
    if not (folder / MODEL_CONFIG).is_file() or not has_weights:
        raise BenchError(
            f"backbone {name!r}: no config.json and safetensors weights among its files (expected {MODEL_WEIGHTS}, or "
            f"{SHARD_INDEX} and its shards, or {PICKLED_WEIGHTS}, which is converted)"
        )
    if (folder / MODEL_WEIGHTS).is_file():
        return
    try:
        listed = set(json.loads((folder / SHARD_INDEX).read_bytes())["weight_map"].values())
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise BenchError(f"backbone {name!r}: {SHARD_INDEX} is no index of shards ({type(error).__name__})") from error
    missing = sorted(str(shard) for shard in listed - {file.name for file in folder.glob(SAFETENSORS)})
    if missing or not listed:
        what = ", ".join(missing) or "none"
        raise BenchError(f"backbone {name!r}: {SHARD_INDEX} names shards that are missing: {what}")
