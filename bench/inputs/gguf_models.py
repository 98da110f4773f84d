"""A model in one GGUF file, as llama.cpp reads it, made safetensors once: its matrices are unpacked to float32."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from bench.errors import BenchError


def convert_gguf(file: Path, folder: Path, name: str) -> None:
    """Write config, weights and tokenizer of the GGUF `file` to `folder`, as transformers saves a decoder.

    `name` is that of the backbone. Raises BenchError where the package that reads such files is not installed, or where
    it can't read this one.
    """
    if importlib.util.find_spec("gguf") is None:
        raise BenchError(
            f"backbone {name!r}: its weights are a GGUF file, which the package gguf reads: pip install gguf"
        )
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    where = {"gguf_file": file.name, "local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(file.parent, **where)
        unpacked = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **where)
    except Exception as error:  # what stands in a file may raise anything
        raise BenchError(f"backbone {name!r}: {file} can't be read ({type(error).__name__}: {error})") from error
    # What was loaded still counts as a packed model, which transformers does not save.
    plain = {key: value for key, value in unpacked.config.to_dict().items() if key != "quantization_config"}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(plain.pop("model_type"), **plain))
    model.load_state_dict(unpacked.state_dict())
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
