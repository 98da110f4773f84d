"""Which files of a model are taken, and the folder on this machine that they are taken from."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from bench.config.backbone import Backbone
from bench.errors import BenchError
from bench.paths import MODEL_CONFIG

# File names as transformers writes them.
SAFETENSORS = "*.safetensors"
SHARD_INDEX = "model.safetensors.index.json"
PICKLED_WEIGHTS = "pytorch_model.bin"
FAST_TOKENIZER = "tokenizer.json"
IMAGE_PROCESSOR = "preprocessor_config.json"
TOKENIZERS = [
    FAST_TOKENIZER,
    "vocab.txt",
    "vocab.json",
    "spm.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
]
FILES = [
    MODEL_CONFIG,
    "generation_config.json",
    "tokenizer_config.json",
    IMAGE_PROCESSOR,
    "special_tokens_map.json",
    "chat_template.jinja",
    "merges.txt",
    "added_tokens.json",
    SHARD_INDEX,
    *TOKENIZERS,
]


def local_folder(backbone: Backbone, mirror: Path | None) -> Path | None:
    """The folder that the model is copied from; None where it comes from the hub or is trained here.

    Raises BenchError where that folder or package is not there.
    """
    if backbone.package is not None:
        spec = importlib.util.find_spec(backbone.package.module)
        if spec is None or spec.origin is None:
            how = f": {backbone.package.install}" if backbone.package.install else ""
            raise BenchError(
                f"backbone {backbone.name!r}: the package {backbone.package.module!r} is not installed{how}"
            )
        return Path(spec.origin).parent / backbone.package.folder
    if backbone.path is not None:
        folder = Path(backbone.path).expanduser()
        if not folder.is_dir():
            raise BenchError(f"backbone {backbone.name!r}: path {backbone.path!r} is no folder")
        return folder
    if backbone.hub is None or mirror is None:
        return None
    folder = mirror / "models" / backbone.hub
    if not folder.is_dir():
        raise BenchError(
            f"backbone {backbone.name!r}: the mirror has no model {backbone.hub}: expected the folder {folder}"
        )
    return folder


def files_of(backbone: Backbone, folder: Path) -> dict[str, Path]:
    """The files of the model in `folder` that are taken, by name: a GGUF file alone, where the backbone names one."""
    gguf = backbone.package.gguf if backbone.package else None
    return {gguf: folder / gguf} if gguf else files_in(folder)


def files_in(folder: Path) -> dict[str, Path]:
    """The files of a model in `folder` that are taken, by name. A pickle is one only where there is no safetensors."""
    weights = sorted(folder.glob(SAFETENSORS)) or [folder / PICKLED_WEIGHTS]
    files = [file for file in [*(folder / name for name in FILES), *weights] if file.is_file()]
    return {file.name: file for file in sorted(files)}
