"""Export an AdaLoRA adapter as plain LoRA: the same outputs, with one rank per matrix.

PEFT can't do it, although the fold is exact: singular values and scale go into A.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.files import canonical_json, folder_in_one_step
from bench.paths import ADAPTER_CONFIG, ADAPTER_WEIGHTS

# Keys that both configs have and that mean the same in both.
SHARED_KEYS = (
    "base_model_name_or_path",
    "task_type",
    "modules_to_save",
    "lora_dropout",
    "bias",
    "fan_in_fan_out",
    "revision",
)


def export_lora(adapter: Path, out: Path) -> None:
    """Write the AdaLoRA adapter in the folder `adapter` as LoRA to `out`, for `PeftModel.from_pretrained`.

    AdaLoRA's update is Delta W = s B diag(E) A with s = alpha / (initial rank + 1e-5), as PEFT scales it. The export
    has A' = s diag(E) A and a scale of 1 (alpha equals the rank). A matrix of which no rank is left is not adapted.

    Raises BenchError if `adapter` holds no complete AdaLoRA adapter, or none with a rank left.

    Example:
        >>> export_lora(Path("results/demo/cells/cola/adalora/small/seed-0/adapter"), Path("cola-lora"))
        >>> PeftModel.from_pretrained(base, "cola-lora").merge_and_unload()
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
    largest = max(live.values())  # the default rank; the patterns name the matrices that have another
    new = {
        **{key: config.get(key) for key in SHARED_KEYS},
        "peft_type": "LORA",
        "r": largest,
        "lora_alpha": largest,
        "target_modules": sorted(live),
        "rank_pattern": {site: rank for site, rank in live.items() if rank != largest},
        "alpha_pattern": {site: rank for site, rank in live.items() if rank != largest},
        "inference_mode": True,
    }
    with folder_in_one_step(out) as folder:
        save_file(folded, folder / ADAPTER_WEIGHTS)
        (folder / ADAPTER_CONFIG).write_bytes(canonical_json(new))


def _folded(tensors: dict[str, Any], scale: float) -> tuple[dict[str, Any], dict[str, int]]:
    """LoRA's tensors and the heads by name, and the rank of each site.

    Saved AdaLoRA has A [r, in], B [out, r] and E [r, 1] with the live ranks only.
    """
    folded, ranks = {}, {}
    for name, tensor in tensors.items():
        if ".lora_A" in name:
            site, rank = name.removesuffix(".lora_A"), int(tensor.shape[0])
            ranks[site.removeprefix("base_model.model.")] = rank
            if rank:  # LoRA has no layer of rank 0
                folded[f"{site}.lora_A.weight"] = (tensor * tensors[f"{site}.lora_E"] * scale).contiguous()
                folded[f"{site}.lora_B.weight"] = tensors[f"{site}.lora_B"].contiguous()
        elif ".lora_" not in name:  # a head
            folded[name] = tensor
    return folded, ranks


def _config(adapter: Path) -> dict[str, Any]:
    file = adapter / ADAPTER_CONFIG
    try:
        config = json.loads(file.read_bytes())
        canonical_json(config)  # refuses Infinity and NaN, which Python reads but JSON does not have
    except (OSError, ValueError, RecursionError) as error:
        raise BenchError(f"{file}: no readable adapter config: {error}") from error
    if not isinstance(config, dict) or config.get("peft_type") != "ADALORA":
        found = config.get("peft_type") if isinstance(config, dict) else type(config).__name__
        raise BenchError(f"{file}: expected an adapter of type ADALORA, found {found}")
    return config
