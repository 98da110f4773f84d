"""Backbones on disk: from a package, the hub, a mirror, a folder, or built here. Cells only read the result, offline.

A model's folder holds config.json, the weights in safetensors, the tokenizer, and manifest.json with the hash of each,
written last. No code is taken; a pickle only where a model has nothing else, read as tensors alone and converted here.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.config.backbone import Backbone
from bench.errors import BenchError
from bench.files import canonical_json, digest, folder_in_one_step
from bench.inputs.cache_keys import backbone_folder
from bench.inputs.hub import fetch
from bench.inputs.weights import INDEX, PICKLED, WEIGHTS, WHOLE, check_weights, convert
from bench.paths import MANIFEST

TOKENIZERS = ["tokenizer.json", "vocab.txt", "vocab.json", "spm.model", "spiece.model", "sentencepiece.bpe.model",
              "tokenizer.model"]  # fmt: skip
FILES = ["config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json", "merges.txt",
         "added_tokens.json", INDEX, *TOKENIZERS]  # fmt: skip


def prepare_backbone(backbone: Backbone, *, mirror: Path | None, cache: Path) -> Path:
    """Put the model's files in its folder where they are not there yet; the folder. Raises BenchError."""
    folder = backbone_folder(backbone, mirror, cache)
    if (folder / MANIFEST).is_file():
        return folder
    with folder_in_one_step(folder) as new:
        revision, converted = None, {}
        if backbone.built is not None:
            from bench.inputs.tiny_models import build

            build(backbone, new)
        else:
            source, revision = _source(backbone, mirror)
            for file in sorted(p for name in [*FILES, WEIGHTS] for p in source.glob(name)):
                shutil.copyfile(file, new / file.name)
            if not any(new.glob(WEIGHTS)) and (source / PICKLED).is_file():
                convert(source / PICKLED, new / WHOLE)
                converted = {"converted": {PICKLED: digest(source / PICKLED)}}
        check_weights(new, backbone.name)
        if backbone.package and digest(min(new.glob(WEIGHTS))) != backbone.package.sha256:
            raise BenchError(f"backbone {backbone.name!r}: its weights do not have the SHA-256 of its file")
        if not (new / "tokenizer.json").is_file():
            _save_fast_tokenizer(new, backbone)
        files = {p.name: digest(p) for p in sorted(new.iterdir())}
        (new / MANIFEST).write_bytes(canonical_json({"revision": revision, "files": files, **converted}))
    return folder


def open_backbone(folder: Path, backbone: Backbone) -> dict[str, Any]:
    """The manifest of a prepared model. Raises BenchError that lists the files that are missing."""
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
        raise BenchError(f"{file} is no manifest ({type(error).__name__}: {error}): {_again(folder)}") from error
    if missing:
        raise BenchError(f"backbone {backbone.name!r}: {', '.join(missing)} missing, named in {file}: {_again(folder)}")
    return manifest


def check_backbone(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Raises BenchError where a file of the prepared model is no longer what its manifest says."""
    for name, sha256 in manifest["files"].items():
        if digest(folder / name) != sha256:
            raise BenchError(f"{folder / name} is not what was prepared (its SHA-256 differs): {_again(folder)}")


def _again(folder: Path) -> str:
    return f"remove {folder} and run `bench prepare STUDY` (it needs the network, the mirror or the package)"


def _source(backbone: Backbone, mirror: Path | None) -> tuple[Path, str | None]:
    """The folder to copy from, and the hub's revision."""
    if backbone.package is not None:
        spec = importlib.util.find_spec(backbone.package.module)
        if spec is None or spec.origin is None:
            raise BenchError(f"backbone {backbone.name!r}: the package {backbone.package.module!r} is not installed")
        return Path(spec.origin).parent / backbone.package.folder, None
    if backbone.path is not None:
        folder = Path(backbone.path).expanduser()
        if not folder.is_dir():
            raise BenchError(f"backbone {backbone.name!r}: path {backbone.path!r} is no folder")
        return folder, None
    hub = backbone.hub or ""
    if mirror is not None:
        folder = mirror / "models" / hub
        if not folder.is_dir():
            raise BenchError(f"backbone {backbone.name!r}: the mirror has no model {hub}: expected the folder {folder}")
        return folder, None
    return fetch("model", hub, backbone.revision, [*FILES, WEIGHTS], otherwise=PICKLED)


def _save_fast_tokenizer(folder: Path, backbone: Backbone) -> None:
    """Convert a SentencePiece or vocabulary tokenizer once, so that cells read tokenizer.json alone."""
    from transformers import AutoTokenizer

    found = [name for name in TOKENIZERS if (folder / name).is_file()]
    if not found or (found == ["vocab.json"] and not (folder / "merges.txt").is_file()):
        raise BenchError(
            f"backbone {backbone.name!r}: no tokenizer among its files; expected one of {', '.join(TOKENIZERS)} "
            "(vocab.json goes with merges.txt)"
        )
    AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False).save_pretrained(folder)
    if not (folder / "tokenizer.json").is_file():
        raise BenchError(f"backbone {backbone.name!r}: its {', '.join(found)} can't be converted to tokenizer.json")
