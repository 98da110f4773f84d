"""Whether a model fits a task, asked of the model's own class: positions, dropout of the head, padding, checkpointing.

Configs name the same thing in many ways, or not at all: RoBERTa's positions start behind its pad id, and the dropout
before a classifier has five names. What is built from the config is the same for all: modules.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.config.backbone import Backbone
from bench.config.generation import position_fault
from bench.config.recipe import Recipe
from bench.config.task import Task
from bench.config.yaml_source import KeyPath
from bench.errors import BenchError
from bench.inputs.model_classes import built
from bench.inputs.unbuildable import build_fault
from bench.paths import MODEL_CONFIG

# What the models of transformers call their table of positions.
POSITION_TABLES = ("position_embeddings", "position_embedding", "embed_positions", "positions_embed", "wpe")


@dataclass(frozen=True)
class Positions:
    """The longest source and target in tokens. None: no limit, as where positions are only relative."""

    source: int | None
    target: int | None


def positions_of(model: Any, *, has_decoder: bool) -> Positions:
    """How many tokens the position tables of `model` hold; has_decoder: its decoder reads targets, not the source."""
    encoder: list[int] = []
    decoder: list[int] = []
    for name, module in model.named_modules():
        if name.rsplit(".", 1)[-1] in POSITION_TABLES and hasattr(module, "num_embeddings"):
            size = _usable(module)
            # Some models number positions in a buffer beside the table, which is shorter than it.
            numbers = getattr(model.get_submodule(name.rpartition(".")[0]), "position_ids", None)
            if numbers is not None:
                size = min(size, numbers.shape[-1])
            is_target = has_decoder and "decoder" in name.split(".")
            (decoder if is_target else encoder).append(size)
    return Positions(min(encoder, default=None), min(decoder, default=None))


def _usable(table: Any) -> int:
    """The rows of a position table that tokens can get: some models count from an offset, or from behind the pad id."""
    rows = int(table.num_embeddings)
    if hasattr(table, "offset"):
        return rows - int(table.offset)
    return rows if table.padding_idx is None else rows - int(table.padding_idx) - 1


def set_head_dropout(model: Any, rate: float, backbone: Backbone) -> None:
    """Set the dropout before the classifier of `model`, whatever its config calls it.

    That is every dropout outside of the base model and of its pooler, which has a dropout of its own. Raises BenchError
    if there is none, unless the rate is 0.
    """
    from torch import nn

    base = {id(module) for module in model.base_model.modules()}
    found = False
    for name, module in list(model.named_modules()):
        if id(module) in base or "pooler" in name.split("."):
            continue
        if isinstance(module, nn.Dropout):
            module.p, found = rate, True
        elif name.endswith("last_dropout") and isinstance(
            module, nn.Identity
        ):  # what XLNet has in place of a rate of 0
            model.set_submodule(name, nn.Dropout(rate))
            found = True
    if not found and rate > 0:
        raise BenchError(f"recipe.head_dropout is {rate:g}, but the head of backbone {backbone.name!r} has no dropout")


def faults(model: Any, task: Task, recipe: Recipe, backbone: Backbone) -> Iterator[tuple[KeyPath, str]]:
    """Why `model`, which may be on the meta device, can't be trained by `recipe`: the key that causes it, a message."""
    has_decoder = task.facts.family == "encoder-decoder"
    positions, what = positions_of(model, has_decoder=has_decoder), f"but backbone {backbone.name!r} has"
    config = model.config
    if positions.source is not None and recipe.max_length > positions.source:
        message = f"recipe.max_length is {recipe.max_length}, {what} {positions.source} positions for a text"
        yield ("recipe", "max_length"), message
    if task.facts.family == "decoder":
        if _reads_both_ways(config):
            message = (
                f"backbone {backbone.name!r} is no decoder: its tokens see those behind them, which are to be learned"
            )
            yield ("backbones", task.kind), message
        written = task.generation.max_length if task.generation else 0
        limit = getattr(config, "max_position_embeddings", None)
        if limit and recipe.max_length + max(recipe.max_target_length, written) > limit:
            message = (
                f"recipe.max_length, {recipe.max_length}, and what is behind it, {recipe.max_target_length} learned or "
                f"{written} generated, do not fit in the {limit} positions of backbone {backbone.name!r}"
            )
            yield ("recipe", "max_length"), message
    if task.generation is not None and positions.target is not None:
        if recipe.max_target_length > positions.target:
            message = f"recipe.max_target_length is {recipe.max_target_length}, {what} {positions.target} for a target"
            yield ("recipe", "max_target_length"), message
        longest = task.generation.max_length - 1  # the last token is written, but never read
        if longest > positions.target and position_fault(task.generation, config.to_dict()) is None:
            message = f"generation.max_length is {longest + 1}, {what} {positions.target} positions for a target"
            yield ("generation", "max_length"), message
    if recipe.head_dropout is not None and task.facts.has_head:
        try:
            set_head_dropout(model, recipe.head_dropout, backbone)
        except BenchError as error:
            yield ("recipe", "head_dropout"), str(error)
    if recipe.gradient_checkpointing and not model.supports_gradient_checkpointing:
        message = f"recipe.gradient_checkpointing: {type(model).__name__} of backbone {backbone.name!r} has none"
        yield ("recipe", "gradient_checkpointing"), message


def _reads_both_ways(config: Any) -> bool:
    """Whether a model is one that fills gaps, as BERT is: transformers builds a decoder of its parts all the same."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    return config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(config, "is_decoder", False)


def _missing_token(model: Any, task: Task) -> str | None:
    """The id of a token that the model needs and that its config does not name."""
    needed = ["pad_token_id", "decoder_start_token_id"] if task.facts.family == "encoder-decoder" else []
    if task.facts.has_head and hasattr(
        model, "score"
    ):  # classifiers such as GPT-2's look for the token before the padding
        needed = ["pad_token_id"]
    return next((key for key in needed if getattr(model.config, key, None) is None), None)


def check_prepared(task: Task, backbone: Backbone, folder: Path) -> None:
    """Raises BenchError if the prepared model in `folder` does not fit `task`: the first of its `faults`, or a token
    that its config does not name.
    """
    model = skeleton(folder, task, backbone)
    for _, fault in faults(model, task, task.recipe, backbone):
        raise BenchError(f"task {task.name!r}: {fault}")
    missing = _missing_token(model, task)
    if missing:
        raise BenchError(f"backbone {backbone.name!r}: its {MODEL_CONFIG} has no {missing}, which {task.kind} needs")


def skeleton(folder: Path, task: Task, backbone: Backbone) -> Any:
    """The model of the config.json in `folder` with a head for `task`, on the meta device: modules without values."""
    import torch
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            return built(config, task.kind, attn_implementation=backbone.attention)
    except Exception as error:  # what stands in a config may raise anything
        raise BenchError(build_fault(error, backbone, task.kind, folder / MODEL_CONFIG)[1]) from error
