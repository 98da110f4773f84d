"""Adapters on a backbone: attach them, save them so that plain PEFT loads them, reload and hash them.

LoRA and AdaLoRA are PEFT's layers, whose forward and ranks the engine takes over. Every other adapter of PEFT
(`adapter: peft`) is trained as PEFT made it: its parameters are plain parts of the flat buffer, as those of a head are,
and its ranks never move.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.config.cell import Cell
from bench.config.method import Method
from bench.config.peft_fields import config_class
from bench.config.rank_schedule import largest_rank
from bench.engine.fused_layers import ADAPTER
from bench.errors import BenchError
from bench.models.backbone import check_heads, head_modules, load_backbone, load_reported
from bench.models.initial_values import initial_adapters
from bench.models.load_report import check_adapter, listed
from bench.models.sites import AdapterSite
from bench.paths import ADAPTER_CONFIG, ADAPTER_FOLDER, ADAPTER_WEIGHTS, MODEL_FOLDER, MODEL_WEIGHTS

INITIALIZATIONS = ("init_lora_weights", "init_weights")  # fields of PEFT's configs


def attach(model: Any, cell: Cell, sites: Sequence[AdapterSite]) -> Any:
    """Put the cell's adapter on `model` at `sites`, and make adapter and heads trainable, all in float32.

    Returns a PeftModel; where the method has no adapter (`full`), the bare model with every parameter trainable. The
    layers are PEFT's own, but its rank allocator and its regularizer are never called. The caller seeds before, because
    the adapter's first values are drawn here; those of LoRA and AdaLoRA are the same for every storage of the base.
    Raises BenchError if PEFT refuses the method's config, by itself or on
    this model.

    Example:
        >>> model = load_backbone(cell, folder, torch.device("cpu"))
        >>> sites = chosen_sites(find_sites(model, cell.backbone), cell.method)
        >>> peft_model = attach(model, cell, sites)
    """
    if cell.method.adapter == "full":
        return model.requires_grad_(True)
    from peft import get_peft_model

    check_heads(model, cell.backbone)
    config = _adapter_config(model, cell, sites)
    first_values: Mapping[str, Tensor] = {}
    try:
        with _without_known_warnings():
            if cell.method.lean and not cell.method.full_precision and not next(model.parameters()).is_meta:
                first_values = initial_adapters(config, sites)
            peft_model = get_peft_model(model, config, adapter_name=ADAPTER)
    except ValueError as error:  # how PEFT says that sizes or the kind of model do not suit an adapter
        what = f"method {cell.method.name!r}: {type(config).__name__} does not fit {cell.backbone.name!r}"
        raise BenchError(f"{what}: {error}") from error
    # PEFT notes the folder from which the base was loaded, which exists on this machine only.
    config.base_model_name_or_path = cell.backbone.hub or cell.backbone.name
    for name, parameter in peft_model.named_parameters():
        if "ranknum" in name:
            # AdaLoRA's constant rank number becomes trainable when PEFT moves it to the base's device or dtype, and the
            # layer's scale would drift with it (tests/defects, S2).
            parameter.requires_grad_(False)
    parameters = dict(peft_model.base_model.model.named_parameters())
    with torch.no_grad():
        for name, values in first_values.items():
            parameters[name].copy_(values)
    return peft_model


def _adapter_config(model: Any, cell: Cell, sites: Sequence[AdapterSite]) -> Any:
    """The PEFT config of the cell's adapter. Raises BenchError if PEFT refuses it."""
    from peft import AdaLoraConfig, LoraConfig
    from transformers.pytorch_utils import Conv1D

    recipe, method = cell.recipe, cell.method
    rank = largest_rank(cell, [(site.in_features, site.out_features) for site in sites])
    # PEFT finds sites by their whole path, and heads by the end of it.
    common: dict[str, Any] = {
        "target_modules": [site.name for site in sites],
        "modules_to_save": [name.split(".")[-1] for name in head_modules(model, cell.backbone)] or None,
        "task_type": cell.task.facts.adapter_task,
        "lora_alpha": recipe.alpha_at(rank),
        "lora_dropout": recipe.adapter_dropout,
    }
    if any(isinstance(model.get_submodule(site.name), Conv1D) for site in sites):
        common["fan_in_fan_out"] = True  # these store their weight as [in, out]; PEFT finds out too, with a warning
    if method.adapter == "lora":
        return LoraConfig(r=rank, **common)
    if method.adapter == "adalora":
        # PEFT demands a schedule and a regularizer; the engine's own are used, so the values only have to be valid.
        idle: dict[str, Any] = {"target_r": max(1, rank - 1), "total_step": 1_000_000, "orth_reg_weight": 0.0}
        return AdaLoraConfig(init_r=rank, **idle, **common)
    assert method.peft is not None  # the method's file is refused without it
    kind = config_class(method.peft.config)
    offered = {**common, "r": rank, "alpha": recipe.alpha_at(rank)}
    known = {field.name for field in fields(kind)}  # not every adapter has a rank, an alpha or dropout
    chosen = dict(method.peft.fields)
    if next(model.parameters()).is_meta:
        # An initialization that is computed from the base's weights (PiSSA, OLoRA, ...) changes no count.
        chosen |= {name: True for name in INITIALIZATIONS if isinstance(chosen.get(name), str)}
    try:
        return kind(**{name: value for name, value in offered.items() if name in known}, **chosen)
    except (TypeError, ValueError) as error:
        raise BenchError(f"method {method.name!r}: {method.peft.config} refuses it: {error}") from error


def plain_ranks(model: Any, cell: Cell, sites: Sequence[AdapterSite]) -> int:
    """Total rank over all matrices where the adapter's layers are not ours, for the record's budget.

    For a PEFT adapter, its `r` times the matrices that carry it (0 if it has no ranks); where everything is trained,
    the full rank of each of `sites`; 0 for LoRA and AdaLoRA, whose ranks the engine counts.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    if cell.method.adapter == "full":
        return sum(min(site.in_features, site.out_features) for site in sites)
    if cell.method.adapter != "peft":
        return 0
    matrices = sum(isinstance(module, BaseTunerLayer) for module in model.modules())
    return int(getattr(model.peft_config[ADAPTER], "r", 0) or 0) * matrices


def adapter_hash(peft_model: Any) -> str:
    """SHA-256 (hex) of every trainable parameter, in the order of their names."""
    digest = hashlib.sha256()
    # float() because numpy has no bfloat16; it changes no value.
    for name, parameter in sorted(peft_model.named_parameters()):
        if parameter.requires_grad:
            digest.update(name.encode())
            digest.update(parameter.detach().cpu().contiguous().float().numpy().tobytes())
    return digest.hexdigest()


def weights_file(method: Method) -> str:
    """Where a cell's folder keeps what was trained: the file of an adapter or of a whole model."""
    return f"{MODEL_FOLDER}/{MODEL_WEIGHTS}" if method.adapter == "full" else f"{ADAPTER_FOLDER}/{ADAPTER_WEIGHTS}"


def save_trained(model: Any, method: Method, folder: Path, masks: Mapping[str, Sequence[bool]]) -> None:
    """Write what the method trained to `folder`: the whole model, or adapter and heads.

    `masks`, by site: which of its initial ranks live; `Core.masks` returns them.
    """
    if method.adapter == "full":
        save_model(model, folder)
        return
    if method.adapter == "lora":
        _write_ranks(model.peft_config[ADAPTER], {name: sum(mask) for name, mask in masks.items()})
    save_adapter(model, folder, masks if method.adapter == "adalora" else None, plain=method.adapter == "peft")


def save_model(model: Any, folder: Path) -> None:
    """Write the whole trained model to `folder`, for `from_pretrained` of transformers."""
    copies: dict[int, Tensor] = {}  # by address: tied weights are one tensor, and stay one
    state = {name: copies.setdefault(value.data_ptr(), _copy(value)) for name, value in model.state_dict().items()}
    model.save_pretrained(folder, state_dict=state)


def save_adapter(
    peft_model: Any, folder: Path, masks: Mapping[str, Sequence[bool]] | None = None, *, plain: bool = False
) -> None:
    """Write adapter and heads to `folder`, for `PeftModel.from_pretrained`.

    `masks` (AdaLoRA), by site: which of its initial ranks live. PEFT leaves the others out of the file. plain: an
    adapter that is not LoRA or AdaLoRA, where only PEFT knows which tensors belong to it.
    """
    config = peft_model.peft_config[ADAPTER]
    if masks is not None:
        config.rank_pattern = {f"{name}.lora_E": list(mask) for name, mask in masks.items()}
    # By default PEFT asks the hub for the base's config, to see whether the vocabulary grew. It never does here.
    with _without_known_warnings():
        peft_model.save_pretrained(
            folder, safe_serialization=True, state_dict=_adapter_state(peft_model, plain), save_embedding_layers=False
        )
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty template of a model card
    _sort_config(folder / ADAPTER_CONFIG)


def _adapter_state(peft_model: Any, plain: bool) -> dict[str, Tensor]:
    """The tensors to save. Trained ones are copied: they are views of one flat buffer, which safetensors refuses."""
    state: dict[str, Tensor] = peft_model.state_dict()
    if not plain:
        # LoRA's matrices without a rank are not in the config (`_write_ranks`), so they can't be in the file.
        lora = peft_model.peft_config[ADAPTER].peft_type == "LORA"
        saved = {name: value for name, value in state.items() if "lora_" in name or "modules_to_save" in name}
        return {name: _copy(value) for name, value in saved.items() if value.numel() or not lora}
    trained = {name for name, parameter in peft_model.named_parameters() if parameter.requires_grad}
    return {name: _copy(value) if name in trained else value for name, value in state.items()}


def _write_ranks(config: Any, ranks: Mapping[str, int]) -> None:
    """Write the `ranks` that LoRA's matrices have at the end into `config`, with alphas that keep their scale.

    A matrix without a rank is not adapted any more: PEFT makes no LoRA layer of rank 0. Raises BenchError if there is
    no other.
    """
    live = {name: rank for name, rank in ranks.items() if rank}
    if not live:
        raise BenchError("no rank is left in any matrix: there is no LoRA adapter to save")
    if len(live) < len(ranks):
        config.target_modules = set(live)
    if set(live.values()) == {config.r}:
        return
    # PEFT scales a layer by alpha over the layer's own rank; in training it was alpha over `config.r`.
    scale, largest = config.lora_alpha / config.r, max(live.values())
    config.r, config.lora_alpha = largest, scale * largest
    config.rank_pattern = {name: rank for name, rank in live.items() if rank != largest}
    config.alpha_pattern = {name: scale * rank for name, rank in config.rank_pattern.items()}


def _sort_config(file: Path) -> None:
    """Make the config's bytes reproducible: PEFT keeps module names in sets, whose order changes with the process."""
    config = json.loads(file.read_text())
    for key in ("target_modules", "modules_to_save", "feedforward_modules"):
        if isinstance(config.get(key), list):
            config[key] = sorted(set(config[key]))
    file.write_text(json.dumps(config, indent=2, sort_keys=True))


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().clone().contiguous()


def reload_trained(model: Any, cell: Cell, folder: Path, base: Path, device: torch.device) -> Any:
    """Load what `save_trained` wrote to `folder` by plain PEFT or transformers, as a user would.

    `model` is used up: its base carries the reloaded adapter. A PEFT adapter may have changed its base, so it goes on a
    fresh one, from the prepared folder `base`.
    """
    if cell.method.adapter == "full":
        whole, report = load_reported(cell, folder, device)
        report.require_all(whole)
        return whole
    return reload_adapter(load_backbone(cell, base, device) if cell.method.adapter == "peft" else model, folder)


def reload_adapter(model: Any, folder: Path) -> Any:
    """The base of `model`, with or without an adapter, as a PeftModel with the adapter that was saved in `folder`.

    Raises BenchError where the adapter's file lacks a tensor, or has one that the adapter of its config does not have:
    PEFT warns and goes on.
    """
    from peft import PeftModel

    with _without_known_warnings():
        base = model.unload() if isinstance(model, PeftModel) else model
        try:
            peft_model = PeftModel.from_pretrained(base, folder, adapter_name=ADAPTER)
        except KeyError as error:  # PEFT looks up each tensor of `modules_to_save`
            if "." not in str(error.args[0]):
                raise
            missing = listed("missing", [str(error.args[0])])
            raise BenchError(f"{folder}: {missing} in the adapter's file") from error
        check_adapter(peft_model, ADAPTER, folder, saved_tensors(folder))
    return peft_model


def saved_tensors(folder: Path) -> list[str]:
    """The names of the tensors in the adapter's file in `folder`."""
    from safetensors import safe_open

    with safe_open(folder / ADAPTER_WEIGHTS, framework="pt") as file:
        return list(file.keys())


@contextmanager
def _without_known_warnings() -> Iterator[None]:
    """Silence warnings that are wrong here: they would appear once per cell, and a reader would look for a fault.

    PEFT checks AdaLoRA's `rank_pattern` (masks by site) as if it were LoRA's (ranks by site), takes a matrix of which
    no rank is left for one that DeepSpeed did not gather, and asks for a property that transformers has renamed.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*rank_pattern keys did not match")
        warnings.filterwarnings("ignore", message=".*LoRA tensor.* have invalid shape")
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing")
        yield
