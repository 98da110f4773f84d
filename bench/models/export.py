"""Export an AdaLoRA adapter as plain LoRA: the same outputs, with one rank per matrix.

PEFT can't do it, although the fold is exact: singular values and scale go into A.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.files import canonical_json, folder_in_one_step
from bench.paths import ADAPTER_CONFIG, ADAPTER_WEIGHTS

CLASSIFIERS = {"classifier", "score"}

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
        missing = _missing(config, tensors, ranks)
    except (KeyError, TypeError, AttributeError, RuntimeError, ArithmeticError, IndexError) as error:
        raise BenchError(f"{adapter}: no whole AdaLoRA adapter: {type(error).__name__}: {error}") from error
    if missing:
        raise BenchError(
            f"{adapter}: no whole AdaLoRA adapter: {', '.join(missing)} named in its config, not in its file"
        )
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
        site = name.rpartition(".lora_")[0]
        if name.endswith(".lora_A"):
            rank = int(tensor.shape[0])
            values, columns = tensors[f"{site}.lora_E"], tensors[f"{site}.lora_B"]
            if list(values.shape) != [rank, 1] or columns.dim() != 2 or columns.shape[1] != rank:
                shapes = f"A {list(tensor.shape)}, E {list(values.shape)}, B {list(columns.shape)}"
                raise RuntimeError(f"{site}: expected A [r, in], E [r, 1] and B [out, r], found {shapes}")
            ranks[site.removeprefix("base_model.model.")] = rank
            if rank:  # LoRA has no layer of rank 0
                folded[f"{site}.lora_A.weight"] = (tensor * values * scale).contiguous()
                folded[f"{site}.lora_B.weight"] = columns.contiguous()
        elif not site:  # a head
            folded[name] = tensor
        elif f"{site}.lora_A" not in tensors:
            raise KeyError(f"{site}.lora_A")
    return folded, ranks


def _missing(config: dict[str, Any], tensors: Collection[str], sites: Collection[str]) -> list[str]:
    """The matrices and heads that the config names and the file lacks.

    AdaLoRA's `rank_pattern` says of every matrix which ranks live; where there is none, `target_modules` names the
    matrices or the ends of their paths. PEFT adds both usual names of a classifier, of which a model has one.
    """
    masks = {str(name).removesuffix(".lora_E"): mask for name, mask in (config.get("rank_pattern") or {}).items()}
    targets = config.get("target_modules")
    named = [name for name, mask in masks.items() if any(mask)] if masks else targets or []
    # A target that is one text is a regular expression, which only PEFT reads.
    missing = [] if isinstance(named, str) else [name for name in named if not _has(sites, name)]
    heads = set(config.get("modules_to_save") or [])
    usual = heads & CLASSIFIERS
    missing += sorted(head for head in heads - usual if not _holds(tensors, head))
    return missing + ([] if not usual or any(_holds(tensors, head) for head in usual) else [" or ".join(sorted(usual))])


def _has(sites: Collection[str], target: str) -> bool:
    return any(site == target or site.endswith(f".{target}") for site in sites)


def _holds(tensors: Collection[str], head: str) -> bool:
    return any(f".{head}." in name for name in tensors)


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
