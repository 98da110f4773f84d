"""A cell's adapter merged into its base: a plain model of transformers, which needs no PEFT and no quantization.

The base counts as the training had it. One that was stored in 16 bits is rounded to them, and of one in NF4 each packed
matrix is what its 4 bits unpack to: an adapter learned to correct that matrix, and not the released one.
"""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch

from bench.config.cell import Cell
from bench.engine.fused_layers import ADAPTER
from bench.errors import BenchError
from bench.inputs.model_files import FILES, SHARD_INDEX
from bench.inputs.padding import GENERATION_CONFIG
from bench.models.adapters import reload_adapter, saved_tensors
from bench.models.backbone import head_modules, load_backbone, load_reported
from bench.models.load_report import check_heads
from bench.models.precision import unpacked
from bench.paths import MODEL_CONFIG

DTYPES = ("float32", "bfloat16")


def merged_model(cell: Cell, adapter: Path, base: Path) -> Any:
    """The model of `cell` in float32 on the CPU, in evaluation mode, with the adapter in the folder `adapter` merged.

    `base`: the prepared folder of the cell's backbone. The config names the classes of the task. Raises BenchError
    where tensors are missing from either folder, or if PEFT can't merge this adapter.

    Example:
        >>> model = merged_model(cell, CellPaths(out).adapter, backbone_folder(cell.backbone, None, cache))
    """
    cpu = torch.device("cpu")
    method = cell.method.model_copy(update={"storage": "fp32"})
    recipe = cell.recipe.model_copy(update={"gradient_checkpointing": False})
    model, report = load_reported(cell.model_copy(update={"method": method, "recipe": recipe}), base, cpu)
    report.require_backbone(head_modules(model, cell.backbone))
    if not cell.method.full_precision:
        _take_over(model, load_backbone(cell, base, cpu))
    with warnings.catch_warnings():
        # An adapter of a packed matrix says nothing of GPT-2's Conv1D, which PEFT finds out and sets right.
        warnings.filterwarnings("ignore", message=".*fan_in_fan_out")
        adapted = reload_adapter(model, adapter)
    check_heads(report.missing, adapter, saved_tensors(adapter))
    try:
        adapted.merge_adapter(safe_merge=True)
    except (NotImplementedError, AttributeError, TypeError, ValueError) as error:  # how PEFT says that it can't
        raise BenchError(f"{adapter}: PEFT can't merge an adapter of method {cell.method.name!r}: {error}") from error
    merged = _unwrapped(adapted.get_base_model())
    _describe_outputs(merged.config, cell)
    return merged.eval()


def _unwrapped(model: Any) -> Any:
    """`model` with plain modules in place of PEFT's: the merged layers, and the heads as they were trained.

    PEFT's own `merge_and_unload` fails for other adapters than LoRA where a head is no single layer, as a pooler.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import ModulesToSaveWrapper

    for name, module in list(model.named_modules()):
        if isinstance(module, ModulesToSaveWrapper):
            model.set_submodule(name, module.modules_to_save[ADAPTER])
        elif isinstance(module, BaseTunerLayer):
            model.set_submodule(name, module.get_base_layer())
    if hasattr(model, "peft_config"):
        del model.peft_config
    return model


@torch.no_grad()  # type: ignore[untyped-decorator]
def _take_over(model: Any, stored: Any) -> None:
    """Give the float32 `model` the values that its weights have as they are `stored` in 16 or 4 bits."""
    from transformers.pytorch_utils import Conv1D

    for name, parameter in model.named_parameters():
        module, _, leaf = name.rpartition(".")
        layer = stored.get_submodule(module)
        if leaf == "weight" and getattr(layer.weight, "quant_state", None) is not None:
            matrix = unpacked(layer)  # [out, in]
            parameter.copy_(matrix.t() if isinstance(model.get_submodule(module), Conv1D) else matrix)
        else:
            parameter.copy_(getattr(layer, leaf).float())


def _describe_outputs(config: Any, cell: Cell) -> None:
    """Name the classes of the task in `config`, so that whoever serves the model shows them."""
    task = cell.task
    if not task.facts.has_head or task.facts.target not in ("class", "number"):
        return
    config.problem_type = "single_label_classification" if task.facts.target == "class" else "regression"
    if task.facts.target == "class":
        config.id2label = dict(enumerate(task.labels))
        config.label2id = {label: index for index, label in enumerate(task.labels)}


def save_plain(model: Any, base: Path, folder: Path, dtype: str) -> None:
    """Write `model` in `dtype` ("float32" or "bfloat16") to `folder`, with the files of `base` by which rows are read.

    These are the tokenizer's, or those of an image processor. The model is changed to that type.
    """
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    _say_what_is_tied(model, folder / MODEL_CONFIG)
    own = {MODEL_CONFIG, GENERATION_CONFIG, SHARD_INDEX}
    for name in FILES:
        if name not in own and (base / name).is_file():
            shutil.copyfile(base / name, folder / name)


def _say_what_is_tied(model: Any, config: Path) -> None:
    """Correct the saved `config` of a model whose lm_head is a matrix of its own, as Flan-T5's.

    transformers writes that it is tied to the embedding, and finds out by itself when it loads; other engines believe
    the config.
    """
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    content = json.loads(config.read_bytes())
    if head is not None and head.weight is not embedding.weight and content.get("tie_word_embeddings"):
        config.write_text(json.dumps({**content, "tie_word_embeddings": False}, indent=2, sort_keys=True) + "\n")
