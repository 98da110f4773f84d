"""Host memory that a training on the CPU takes at the most, from a config alone and without torch: for jobs, whose
memory is asked for each time the pipeline is read. `peak_prediction` says it exactly, and takes seconds."""

from __future__ import annotations

from typing import Any

from bench.config.cell import Cell

TRAINED = 0.05  # share of the parameters that adapters and heads hold at the most
STATE = 24  # bytes of a trained parameter: itself, its gradient, two moments, two importances


def growth_bound(cell: Cell, parameters: int) -> int | None:
    """Bytes above the loaded model, rounded up; None where the config names no width."""
    config, recipe = cell.backbone.config, cell.recipe
    width = _first(config, "hidden_size", "d_model")
    if width is None:
        return None
    layers = sum(config.get(key, 0) for key in ("num_hidden_layers", "encoder_layers", "decoder_layers",
                                               "num_layers", "num_decoder_layers"))  # fmt: skip
    inner = _first(config, "intermediate_size", "encoder_ffn_dim", "d_ff") or 4 * width
    heads = _first(config, "num_attention_heads", "encoder_attention_heads", "num_heads") or 1
    rows = -(-recipe.batch_size // recipe.micro_batches)
    tokens = rows * recipe.max_length
    pairs = rows * heads * recipe.max_length**2 * (3 if config.get("relative_attention") else 1)
    activations = layers * (tokens * (20 * width + 5 * inner) + 5 * pairs)
    if cell.task.generates:
        activations += 4 * rows * recipe.max_target_length * config.get("vocab_size", 0)
    trained = parameters if cell.method.adapter == "full" else TRAINED * parameters
    return int(4 * activations + STATE * trained)


def _first(config: dict[str, Any], *keys: str) -> int | None:
    return next((config[key] for key in keys if config.get(key)), None)
