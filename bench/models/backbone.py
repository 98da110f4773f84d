"""Load a prepared backbone as the method stores it: fp32, bf16 or nf4, always with its heads in float32."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from bench.config.backbone import Backbone
from bench.config.cell import Cell
from bench.errors import BenchError
from bench.models.precision import multiply_in_float32, products_in
from bench.models.sites import AdapterSite


def load_backbone(cell: Cell, folder: Path, device: torch.device) -> Any:
    """The model of `cell` with the head of its task, from the prepared `folder`, offline; in training mode.

    Under nf4 the adapted matrices and every other linear layer but the heads are 4-bit (defect Q1); what is left stays
    in bfloat16, only heads are float32 (Q2). The caller seeds before: the new head's weights are drawn here.
    """
    from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification
    from transformers.utils import logging

    logging.set_verbosity_error()  # else: a report of the new head's weights at every load
    logging.disable_progress_bar()
    task, storage = cell.task, cell.method.storage
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if not task.generates:
        config.num_labels = 1 if task.kind == "regression" else len(task.labels)
        if cell.recipe.head_dropout is not None:
            for name in ("classifier_dropout", "cls_dropout", "pooler_dropout"):
                if hasattr(config, name):
                    setattr(config, name, cell.recipe.head_dropout)
    auto = AutoModelForSeq2SeqLM if task.generates else AutoModelForSequenceClassification
    options: dict[str, Any] = {"dtype": torch.float32 if storage == "fp32" else torch.bfloat16}
    if storage == "nf4":
        options["quantization_config"] = _nf4(cell)
        options["device_map"] = {"": str(device)}
    model = auto.from_pretrained(
        folder, config=config, local_files_only=True, trust_remote_code=False, use_safetensors=True,
        attn_implementation=cell.backbone.attention, **options,
    )  # fmt: skip
    if storage == "nf4":
        _keep_unpacked(model)
    else:
        model.to(device)
    return settle(model, cell, device.type)


def settle(model: Any, cell: Cell, device: str) -> Any:
    """`model` as every training on a device of that type starts from it: frozen, heads in float32, in training mode."""
    model.requires_grad_(False)
    for name in head_modules(model, cell.backbone):
        module = model.get_submodule(name).float()
        if cell.method.storage != "fp32":
            module.register_forward_pre_hook(_to_float32)
    if cell.method.storage != "fp32" and products_in(device, cell.method.storage) == torch.float32:
        multiply_in_float32(model)
    if cell.recipe.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return model.train()


def find_sites(model: Any, backbone: Backbone) -> tuple[AdapterSite, ...]:
    """Every linear module whose path ends in one of the backbone's `matrices`, in the order of the model.

    A path belongs to the longest suffix that fits it; modules inside a head never do (defect Q3). Raises BenchError
    for a suffix that fits nothing.
    """
    heads = head_modules(model, backbone)
    sites = []
    for name, module in model.named_modules():
        suffix = max((m for m in backbone.matrices if name == m or name.endswith(f".{m}")), key=len, default=None)
        if suffix is None or not hasattr(module, "in_features"):
            continue
        if any(name == head or name.startswith(f"{head}.") for head in heads):
            continue
        before = name.removesuffix(suffix).rstrip(".").split(".")
        numbers = [int(part) for part in before if part.isdigit()]
        stack = ".".join(before[: next((i for i, part in enumerate(before) if part.isdigit()), len(before))])
        sites.append(
            AdapterSite(name, module.in_features, module.out_features, suffix, numbers[0] if numbers else None, stack)
        )
    empty = [m for m in backbone.matrices if m not in {site.matrix for site in sites}]
    if empty:
        raise BenchError(f"backbone {backbone.name!r}: no linear module's path ends in {empty[0]!r}")
    return tuple(sites)


def head_modules(model: Any, backbone: Backbone) -> list[str]:
    """Paths of the backbone's heads in `model`; a head that this model doesn't have (no pooler) is left out."""
    names = [name for name, _ in model.named_modules()]
    return [n for head in backbone.head for n in names if n == head or (n.endswith(f".{head}") and n.count(".") == 1)]


def _nf4(cell: Cell) -> Any:
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=cell.method.double_quantization,
        bnb_4bit_compute_dtype=torch.bfloat16,
        # patterns: the heads and what is inside them, wherever they stand
        llm_int8_skip_modules=[rf"(.*\.)?{re.escape(head)}(\..*)?" for head in [*cell.backbone.head, "lm_head"]],
    )


def _keep_unpacked(model: Any) -> None:
    """bitsandbytes repacks a layer for AVX512-BF16 at its first evaluation, scales rounded to bfloat16, and never back:
    what is evaluated is then not what was trained, and no gradient passes it any more. It is also slower."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _to_float32(module: torch.nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:  # noqa: ARG001 (a hook)
    return tuple(x.float() if torch.is_tensor(x) and x.is_floating_point() else x for x in inputs)
