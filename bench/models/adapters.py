"""Adapters on a backbone: attach, save so that plain PEFT loads them, hash."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.config.cell import Cell
from bench.config.method import Method
from bench.config.rank_schedule import largest_rank
from bench.engine.fused_layers import ADAPTER
from bench.models.backbone import head_modules, load_backbone
from bench.models.others import config_of, state_of
from bench.models.sites import AdapterSite
from bench.paths import ADAPTER_CONFIG, ADAPTER_FOLDER, ADAPTER_WEIGHTS, MODEL_FOLDER, MODEL_WEIGHTS


def attach(model: Any, cell: Cell, sites: Sequence[AdapterSite]) -> Any:
    """`model` as a PeftModel with the method's adapter at `sites` and trainable heads, all of it float32; where the
    method has no adapter, the bare model with every parameter trainable.

    The layers are PEFT's own, PEFT's allocator and regularizer are never called. The caller seeds before.
    """
    if cell.method.adapter == "full":
        return model.requires_grad_(True)
    from peft import AdaLoraConfig, LoraConfig, get_peft_model

    recipe = cell.recipe
    rank = largest_rank(cell, [(site.in_features, site.out_features) for site in sites])
    common: dict[str, Any] = {
        "target_modules": [site.name for site in sites],
        "modules_to_save": [name.split(".")[-1] for name in head_modules(model, cell.backbone)] or None,
        "task_type": "SEQ_2_SEQ_LM" if cell.task.generates else "SEQ_CLS",
    }
    scale: dict[str, Any] = {"lora_alpha": recipe.alpha_at(rank), "lora_dropout": recipe.adapter_dropout}
    config: Any
    if cell.method.adapter == "peft":
        config = config_of(cell, sites, common)
    elif cell.method.adapter == "adalora":
        # PEFT wants a schedule; ours decides, and its regularizer is ours too
        config = AdaLoraConfig(
            init_r=rank, target_r=max(1, rank - 1), total_step=1_000_000, orth_reg_weight=0.0, **scale, **common
        )
    else:
        config = LoraConfig(r=rank, **scale, **common)
    with _without_known_warnings():
        peft_model = get_peft_model(model, config, adapter_name=ADAPTER)
    # not the folder of this machine from which it was loaded
    config.base_model_name_or_path = cell.backbone.hub or cell.backbone.name
    for name, parameter in peft_model.named_parameters():
        if "ranknum" in name:
            parameter.requires_grad_(False)  # defect S2
    return peft_model


def save_trained(model: Any, method: Method, folder: Path, masks: Mapping[str, Sequence[bool]]) -> None:
    """Write what the method trained to `folder`: the whole model, or adapter and heads. `masks`: as in save_adapter."""
    if method.adapter == "full":
        save_model(model, folder)
        return
    if method.adapter == "lora":
        _tell_ranks(model.peft_config[ADAPTER], {name: sum(mask) for name, mask in masks.items()})
    save_adapter(model, folder, masks if method.adapter == "adalora" else None, plain=method.adapter == "peft")


def save_adapter(
    peft_model: Any, folder: Path, masks: Mapping[str, Sequence[bool]] | None = None, *, plain: bool = False
) -> None:
    """Write adapter and heads to `folder`, for PeftModel.from_pretrained. `masks`: of each site, which of its initial
    ranks live (AdaLoRA); the others are left out of the file. plain: PEFT says what belongs to the adapter."""
    config = peft_model.peft_config[ADAPTER]
    if masks is not None:
        config.rank_pattern = {f"{name}.lora_E": list(mask) for name, mask in masks.items()}
    state = state_of(peft_model) if plain else {k: _copy(v) for k, v in peft_model.state_dict().items() if _saved(k)}
    peft_model.save_pretrained(folder, safe_serialization=True, state_dict=state, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty form for a model card
    _settle_config(folder / ADAPTER_CONFIG)


def _tell_ranks(config: Any, ranks: Mapping[str, int]) -> None:
    """Write the `ranks` that LoRA's matrices have grown to into `config`, with alphas that keep their scale."""
    if set(ranks.values()) == {config.r}:
        return
    scale, usual = config.lora_alpha / config.r, max(ranks.values())
    config.r, config.lora_alpha = usual, scale * usual
    config.rank_pattern = {name: rank for name, rank in ranks.items() if rank != usual}
    config.alpha_pattern = {name: scale * rank for name, rank in config.rank_pattern.items()}


def weights_file(method: Method) -> str:
    """Where in a cell's folder stands what was trained: an adapter, or a whole model."""
    return f"{MODEL_FOLDER}/{MODEL_WEIGHTS}" if method.adapter == "full" else f"{ADAPTER_FOLDER}/{ADAPTER_WEIGHTS}"


def save_model(model: Any, folder: Path) -> None:
    """Write the whole trained model to `folder`, for from_pretrained of transformers."""
    copies: dict[int, Tensor] = {}  # tied weights are one tensor, and stay one
    state = {name: copies.setdefault(value.data_ptr(), _copy(value)) for name, value in model.state_dict().items()}
    model.save_pretrained(folder, state_dict=state)


def reload_trained(model: Any, cell: Cell, folder: Path, base: Path, device: torch.device) -> Any:
    """What was saved in `folder`, loaded by plain PEFT or transformers: what a user gets. `model` is used up; an
    adapter that may have changed its base goes on a fresh one, from the prepared folder `base`."""
    if cell.method.adapter == "full":
        return load_backbone(cell, folder, device)
    return reload_adapter(load_backbone(cell, base, device) if cell.method.adapter == "peft" else model, folder)


def reload_adapter(model: Any, folder: Path) -> Any:
    """The base of `model`, adapted or bare, with the adapter that was saved in `folder`."""
    from peft import PeftModel

    with _without_known_warnings():
        base = model.unload() if isinstance(model, PeftModel) else model
        return PeftModel.from_pretrained(base, folder, adapter_name=ADAPTER)


@contextmanager
def _without_known_warnings() -> Iterator[None]:
    """PEFT reads rank_pattern as LoRA means it, and a property that transformers renames: neither matters here."""
    with warnings.catch_warnings():
        for message in (".*rank_pattern keys did not match", ".*is_gradient_checkpointing"):
            warnings.filterwarnings("ignore", message=message)
        yield


def adapter_hash(peft_model: Any) -> str:
    """SHA-256 (hex) of every trainable parameter, by name."""
    digest = hashlib.sha256()
    for name, parameter in sorted(peft_model.named_parameters()):
        if parameter.requires_grad:
            digest.update(name.encode())
            digest.update(_bytes(parameter))
    return digest.hexdigest()


def _settle_config(file: Path) -> None:
    """The same bytes wherever it is written: PEFT keeps module names in sets, whose order changes with the process."""
    config = json.loads(file.read_text())
    for key in ("target_modules", "modules_to_save", "feedforward_modules"):
        if isinstance(config.get(key), list):
            config[key] = sorted(set(config[key]))
    file.write_text(json.dumps(config, indent=2, sort_keys=True))


def _saved(name: str) -> bool:
    return "lora_" in name or "modules_to_save" in name


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().clone().contiguous()


def _bytes(tensor: Tensor) -> bytes:
    return bytes(tensor.detach().cpu().contiguous().float().numpy().tobytes())
