"""Load a prepared backbone as the method stores it (fp32, bf16 or nf4), always with its heads in float32.

Two terms: a *head* is a module that the task adds and that is trained in full (classifier, pooler); a *site* is a
linear layer that can carry an adapter. The backbone's file names both.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bench.config.backbone import Backbone
from bench.config.cell import Cell
from bench.errors import BenchError, nearest
from bench.inputs.model_classes import auto_class, head_outputs
from bench.inputs.model_fit import set_head_dropout
from bench.models.attention import attention_on
from bench.models.initial_values import initial_heads
from bench.models.load_report import LoadReport
from bench.models.precision import matmul_dtype, multiply_in_float32
from bench.models.quantization import nf4_config
from bench.models.relative_positions import use_own_gathers
from bench.models.sites import AdapterSite, matrix_shape

USUAL_CLASSIFIERS = ("classifier", "score", "qa_outputs")  # PEFT trains modules of these names whatever its config says
# Where the configs of transformers keep the dropout before a classifier, for the config that is saved with the model.
HEAD_DROPOUT_KEYS = ("classifier_dropout", "cls_dropout", "seq_classif_dropout", "classifier_dropout_prob")


def load_backbone(cell: Cell, folder: Path, device: torch.device) -> Any:
    """The model of `cell` with the head of its task, from the prepared `folder`; frozen, in training mode, offline.

    Under nf4 linear layers outside of the heads are 4-bit, apart from those that quantization.py names; what else there
    is (embeddings, norms, biases) stays in bfloat16. The caller seeds before, because a new head's weights are drawn
    here: the same bits for every storage and device. Raises BenchError where the folder lacks a tensor that is not one
    of the heads'.

    Example:
        >>> folder = prepare_backbone(cell.backbone, mirror=None, cache=Path("cache"))
        >>> model = load_backbone(cell, folder, torch.device("cpu"))
    """
    model, report = load_reported(cell, folder, device)
    report.require_backbone(head_modules(model, cell.backbone))
    return model


def load_reported(cell: Cell, folder: Path, device: torch.device) -> tuple[Any, LoadReport]:
    """As load_backbone, whatever the folder lacks; and which tensors it lacks, or has in vain."""
    from transformers import AutoConfig
    from transformers.utils import logging

    # Without this, every load reports that the head's weights are new, which they are meant to be.
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    task, storage = cell.task, cell.method.storage
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    config.architectures = config.architectures or []  # transformers loops over it, also where it is None
    if task.facts.has_head:
        config.num_labels = head_outputs(task)
        if cell.recipe.head_dropout is not None:
            for key in HEAD_DROPOUT_KEYS:
                if hasattr(config, key):
                    setattr(config, key, cell.recipe.head_dropout)
    auto = auto_class(task.kind)
    # Nothing that comes with a checkpoint is executed: no remote code, and safetensors in place of pickle.
    options: dict[str, Any] = {"dtype": torch.float32 if storage == "fp32" else torch.bfloat16}
    if storage == "nf4":
        options["quantization_config"] = nf4_config(cell.backbone, double_quantization=cell.method.double_quantization)
        options["device_map"] = {"": str(device)}  # quantization happens on the way to the device
    common: dict[str, Any] = {
        "local_files_only": True,
        "trust_remote_code": False,
        "use_safetensors": True,
        "attn_implementation": attention_on(device.type, cell.backbone.attention),
        "ignore_mismatched_sizes": True,  # they are refused by name, from the report
    }
    heads: dict[str, dict[str, torch.Tensor]] = {}
    if storage != "fp32" and cell.backbone.head and task.facts.has_head:
        load = partial(auto.from_pretrained, folder, config=deepcopy(config), dtype=torch.float32, **common)
        heads = initial_heads(load, partial(head_modules, backbone=cell.backbone))
    model, info = auto.from_pretrained(folder, config=config, output_loading_info=True, **common, **options)
    if cell.recipe.head_dropout is not None and task.facts.has_head:
        set_head_dropout(model, cell.recipe.head_dropout, cell.backbone)
    if storage == "nf4":
        _forbid_repacking(model)
    else:
        model.to(device)
    prepare_for_training(model, cell, device.type)
    for name, values in heads.items():
        model.get_submodule(name).load_state_dict(values)
    return model, LoadReport.of(folder, info)


def prepare_for_training(model: Any, cell: Cell, device: str) -> Any:
    """Bring `model` into the state in which every training on a device of that type ("cpu", "cuda") starts.

    It is frozen and in training mode, its heads are float32, and matrices are multiplied in the type that the device is
    fast at. Returns the same model.
    """
    model.requires_grad_(False)
    for name in head_modules(model, cell.backbone):
        head = model.get_submodule(name).float()
        if cell.method.storage != "fp32":
            head.register_forward_pre_hook(_inputs_to_float32)
    if cell.method.storage != "fp32" and matmul_dtype(device, cell.method.storage) == torch.float32:
        multiply_in_float32(model)
    if device == "cuda":  # on the CPU PyTorch's gather is deterministic, quick and takes no memory
        use_own_gathers(model)
    if cell.recipe.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return model.train()


def find_sites(model: Any, backbone: Backbone) -> tuple[AdapterSite, ...]:
    """Every linear layer whose path ends in one of the backbone's `matrices`, in the order of the model.

    A path belongs to the longest suffix that fits it: to `attention.output.dense`, not to `output.dense`. Layers inside
    a head are never sites. Raises BenchError if one of the suffixes fits no layer.

    Example:
        >>> find_sites(model, backbone)[0].name
        'bert.encoder.layer.0.attention.self.query'
    """
    heads = head_modules(model, backbone)
    sites = []
    for name, module in model.named_modules():
        suffix = max((m for m in backbone.matrices if name == m or name.endswith(f".{m}")), key=len, default=None)
        if suffix is None or (shape := matrix_shape(module)) is None:
            continue
        # A pooler's dense layer has the same suffix as an encoder's. It is trained in full already.
        if any(name == head or name.startswith(f"{head}.") for head in heads):
            continue
        stack, layer = _stack_and_layer(name.removesuffix(suffix))
        sites.append(AdapterSite(name, *shape, suffix, layer, stack))
    unmatched = next((m for m in backbone.matrices if m not in {site.matrix for site in sites}), None)
    if unmatched is not None:
        raise BenchError(_unmatched(model, backbone, unmatched))
    return tuple(sites)


def _unmatched(model: Any, backbone: Backbone, matrix: str) -> str:
    """What is wrong with an entry of `matrices` that is the name of no linear layer outside of the heads."""
    heads = tuple(f"{head}." for head in head_modules(model, backbone))
    layers = [name for name, module in model.named_modules() if matrix_shape(module) is not None]
    # As many parts of a path as the entry has: `attention.output.dense` is close to another with three.
    parts = matrix.count(".") + 1
    ends = {".".join(name.split(".")[-parts:]) for name in layers if not f"{name}.".startswith(heads)}
    return f"backbone {backbone.name!r}: no linear module's path ends in {matrix!r}{nearest(matrix, ends)}"


def named_faults(model: Any, backbone: Backbone) -> Iterator[tuple[str, str]]:
    """What is wrong with the modules that the backbone's file names: the key, and a message."""
    try:
        find_sites(model, backbone)
    except BenchError as error:
        yield "matrices", str(error)
    try:
        check_heads(model, backbone)
    except BenchError as error:
        yield "head", str(error)


def _stack_and_layer(path: str) -> tuple[str, int | None]:
    """The path before the first number, and that number: 'encoder.layer.3.attention.' gives ('encoder.layer', 3)."""
    parts = path.rstrip(".").split(".")
    for place, part in enumerate(parts):
        if part.isdigit():
            return ".".join(parts[:place]), int(part)
    return ".".join(parts), None


def head_modules(model: Any, backbone: Backbone) -> list[str]:
    """Paths of the backbone's heads in `model`. A head that this model does not have (no pooler) is left out.

    A head stands at the top of the model or one level below it (`bert.pooler`).
    """
    names = [name for name, _ in model.named_modules()]
    return [
        name
        for head in backbone.head
        for name in names
        if name == head or (name.endswith(f".{head}") and name.count(".") == 1)
    ]


def check_heads(model: Any, backbone: Backbone) -> None:
    """Raises BenchError where PEFT would train a module in full that the backbone's file does not name as a head.

    PEFT takes every module whose path ends in the name of a head or of a usual classifier, so that DistilBERT's
    `pre_classifier` is trained with its `classifier`.
    """
    heads = head_modules(model, backbone)
    endings = {name.rsplit(".", 1)[-1] for name in heads} | set(USUAL_CLASSIFIERS)
    for name, _ in model.named_modules():
        inside = any(name == head or name.startswith(f"{head}.") for head in heads)
        if name.endswith(tuple(endings)) and not inside:
            last = name.rsplit(".", 1)[-1]
            raise BenchError(f"backbone {backbone.name!r}: PEFT trains {name!r} in full: add {last} to `head`")


def _forbid_repacking(model: Any) -> None:
    """Keep bitsandbytes from repacking 4-bit layers for AVX512-BF16 when they are first evaluated.

    It rounds the scales to bfloat16 and never goes back: what is evaluated would not be what was trained, and no
    gradient passes the repacked layer. It is also slower.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _inputs_to_float32(module: torch.nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:  # noqa: ARG001
    """A forward pre-hook: a head in float32 gets the half-precision output of its base."""
    return tuple(x.float() if torch.is_tensor(x) and x.is_floating_point() else x for x in inputs)
