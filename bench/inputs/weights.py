"""A model's weights in its prepared folder: safetensors in one file or in shards, converted once where need be."""

from __future__ import annotations

import json
from pathlib import Path

from bench.errors import BenchError

WEIGHTS, WHOLE, INDEX = "*.safetensors", "model.safetensors", "model.safetensors.index.json"
PICKLED = "pytorch_model.bin"


def convert(file: Path, target: Path) -> None:
    """The tensors of the pickle `file` as safetensors; nothing in it is run. Raises BenchError for other content."""
    import torch
    from safetensors.torch import save_file

    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # an altered file may raise anything
        raise BenchError(
            f"{file}: no safetensors weights, and this file is refused: it can't be read as tensors alone, and nothing "
            f"else in it is run ({type(error).__name__})"
        ) from error
    if not isinstance(found, dict) or not found:
        raise BenchError(f"{file} is refused: it should hold tensors by name, found {type(found).__name__}")
    for name, value in found.items():
        plain = torch.is_tensor(value) and value.layout == torch.strided and value.device.type == "cpu"
        if not isinstance(name, str) or not plain or value.is_quantized:
            raise BenchError(f"{file} is refused: {name!r} is no plain tensor, but {type(value).__name__}")
    copies = {n: t.detach().clone(memory_format=torch.contiguous_format) for n, t in found.items()}  # none shared
    save_file(copies, target, metadata={"format": "pt"})


def check_weights(folder: Path, name: str) -> None:
    """Raises BenchError where `folder` of backbone `name` lacks config.json, weights or a shard its index names."""
    if not (folder / "config.json").is_file() or not any((folder / file).is_file() for file in (WHOLE, INDEX)):
        raise BenchError(
            f"backbone {name!r}: no config.json and safetensors weights among its files (expected {WHOLE}, or {INDEX} "
            f"and its shards, or {PICKLED}, which is converted)"
        )
    if (folder / WHOLE).is_file():
        return
    try:
        named = set(json.loads((folder / INDEX).read_bytes())["weight_map"].values())
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise BenchError(f"backbone {name!r}: {INDEX} is no index of shards ({type(error).__name__})") from error
    missing = sorted(str(shard) for shard in named - {file.name for file in folder.glob(WEIGHTS)})
    if missing or not named:
        raise BenchError(f"backbone {name!r}: {INDEX} names shards that are missing: {', '.join(missing) or 'none'}")
