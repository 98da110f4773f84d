"""Backbones on disk: from a package, the hub, a mirror, a folder, or built here. Cells only read the result, offline.

A model's folder holds config.json, model.safetensors, the tokenizer, and manifest.json with the hash of each, written
last. Nothing but these kinds of file is taken: no pickle, no code.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.errors import BenchError, TransientError
from bench.files import canonical_json, folder_in_one_step, sha256_file
from bench.prepare.places import backbone_folder
from bench.spec.backbone import Backbone

FILES = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
         "vocab.txt", "vocab.json", "merges.txt", "spm.model", "spiece.model", "added_tokens.json"]  # fmt: skip
WEIGHTS = "*.safetensors"


def prepare_backbone(backbone: Backbone, *, mirror: Path | None, cache: Path) -> Path:
    """Put the model's files in its folder where they are not there yet; the folder. Raises BenchError."""
    folder = backbone_folder(backbone, mirror, cache)
    if (folder / "manifest.json").is_file():
        return folder
    with folder_in_one_step(folder) as new:
        revision = None
        if backbone.built is not None:
            from bench.prepare.built import build

            build(backbone, new)
        else:
            source, revision = _source(backbone, mirror)
            for file in sorted(p for name in [*FILES, WEIGHTS] for p in source.glob(name)):
                shutil.copyfile(file, new / file.name)
        weights = sorted(new.glob(WEIGHTS))
        if not weights or not (new / "config.json").is_file():
            raise BenchError(f"backbone {backbone.name!r}: no config.json and safetensors weights among its files")
        if backbone.package and sha256_file(weights[0]) != backbone.package.sha256:
            raise BenchError(f"backbone {backbone.name!r}: {weights[0].name} does not have the SHA-256 of its file")
        if not (new / "tokenizer.json").is_file():
            _save_fast_tokenizer(new)
        files = {p.name: sha256_file(p) for p in sorted(new.iterdir())}
        (new / "manifest.json").write_bytes(canonical_json({"revision": revision, "files": files}))
    return folder


def open_backbone(folder: Path, backbone: Backbone) -> dict[str, Any]:
    """The manifest of a prepared model. Raises BenchError that lists the files that are missing."""
    file = folder / "manifest.json"
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
        if sha256_file(folder / name) != sha256:
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
    return _download(hub, backbone)


def _download(hub: str, backbone: Backbone) -> tuple[Path, str]:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        revision = backbone.revision or HfApi().model_info(hub).sha
        folder = snapshot_download(hub, revision=revision, allow_patterns=[*FILES, WEIGHTS])
    except (HfHubHTTPError, OSError) as error:
        raise TransientError(
            f"backbone {hub} can't be fetched ({type(error).__name__}); without a network give a folder in the hub's "
            f"layout with mirror=DIR: {error}"
        ) from error
    return Path(folder), str(revision)


def _save_fast_tokenizer(folder: Path) -> None:
    """Convert a SentencePiece or vocabulary tokenizer once, so that cells read tokenizer.json alone."""
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False).save_pretrained(folder)
