"""AdaLoRA as plain LoRA: singular values and scale folded into A, a rank for each matrix, equal outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.files import canonical_json, folder_in_one_step
from bench.paths import ADAPTER_CONFIG, ADAPTER_WEIGHTS

KEPT = ("base_model_name_or_path", "task_type", "modules_to_save", "lora_dropout", "bias", "fan_in_fan_out", "revision")


def export_lora(adapter: Path, out: Path) -> None:
    """Write the AdaLoRA adapter in `adapter` as LoRA to `out`, for PeftModel.from_pretrained. Raises BenchError.

    Delta W = s B diag(E) A with s = alpha / (initial rank + 1e-5), as PEFT scales; here A' = s E A and LoRA's scale is
    1 (alpha equals the rank). A matrix of which no rank is left is no target.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file

    config = _config(adapter)
    try:
        tensors = load_file(adapter / ADAPTER_WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise BenchError(f"{adapter / ADAPTER_WEIGHTS}: no readable adapter: {error}") from error
    try:
        folded, ranks = _folded(tensors, config["lora_alpha"] / (config["init_r"] + 1e-5))
    except (KeyError, TypeError, RuntimeError, ArithmeticError, IndexError) as error:
        raise BenchError(f"{adapter}: no whole AdaLoRA adapter: {type(error).__name__}: {error}") from error
    live = {site: rank for site, rank in ranks.items() if rank}
    if not live:
        raise BenchError(f"{adapter}: no rank is left in any matrix: there is nothing to export")
    usual = max(live.values())
    new = {
        **{key: config.get(key) for key in KEPT},
        "peft_type": "LORA",
        "r": usual,
        "lora_alpha": usual,
        "target_modules": sorted(live),
        "rank_pattern": {site: rank for site, rank in live.items() if rank != usual},
        "alpha_pattern": {site: rank for site, rank in live.items() if rank != usual},
        "inference_mode": True,
    }
    with folder_in_one_step(out) as folder:
        save_file(folded, folder / ADAPTER_WEIGHTS)
        (folder / ADAPTER_CONFIG).write_bytes(canonical_json(new))


def _folded(tensors: dict[str, Any], scale: float) -> tuple[dict[str, Any], dict[str, int]]:
    """LoRA's tensors and heads by name, and the rank of each site."""
    folded, ranks = {}, {}
    for name, tensor in tensors.items():
        if ".lora_A" in name:
            site, rank = name.removesuffix(".lora_A"), int(tensor.shape[0])
            ranks[site.removeprefix("base_model.model.")] = rank
            if rank:
                folded[f"{site}.lora_A.weight"] = (tensor * tensors[f"{site}.lora_E"] * scale).contiguous()
                folded[f"{site}.lora_B.weight"] = tensors[f"{site}.lora_B"].contiguous()
        elif ".lora_" not in name:
            folded[name] = tensor
    return folded, ranks


def _config(adapter: Path) -> dict[str, Any]:
    file = adapter / ADAPTER_CONFIG
    try:
        config = json.loads(file.read_bytes())
        canonical_json(config)  # no infinity, whose place in JSON Python alone knows
    except (OSError, ValueError, RecursionError) as error:
        raise BenchError(f"{file}: no readable adapter config: {error}") from error
    if not isinstance(config, dict) or config.get("peft_type") != "ADALORA":
        found = config.get("peft_type") if isinstance(config, dict) else type(config).__name__
        raise BenchError(f"{file}: expected an adapter of type ADALORA, found {found}")
    return config
