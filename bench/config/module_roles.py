"""What a matrix does in its layer, whatever a model calls it: so that a method can name query, value, ... for all."""

from __future__ import annotations

from typing import Literal

Role = Literal["query", "key", "value", "attention-output", "feed-forward-in", "feed-forward-out"]
Third = Literal["lower", "middle", "upper"]
THIRDS: tuple[Third, ...] = ("lower", "middle", "upper")

# Ends of module paths, as BERT, DeBERTa, BART, T5, LLaMA and GPT-like models write them.
_ENDS: dict[Role, tuple[str, ...]] = {
    "query": ("query", "query_proj", "q_proj", "q"),
    "key": ("key", "key_proj", "k_proj", "k"),
    "value": ("value", "value_proj", "v_proj", "v"),
    "attention-output": ("attention.output.dense", "out_proj", "o_proj", "o"),
    "feed-forward-in": ("intermediate.dense", "fc1", "up_proj", "gate_proj", "wi", "wi_0", "wi_1"),
    "feed-forward-out": ("output.dense", "fc2", "down_proj", "wo"),
}


def role_of(matrix: str) -> Role | None:
    """The role of the matrix at the end of a module's path; None where the name tells nothing."""
    fits = [(len(end), role) for role, ends in _ENDS.items() for end in ends if f".{matrix}".endswith(f".{end}")]
    return max(fits)[1] if fits else None


def third_of(layer: int, layers: int) -> Third:
    """Which third of a stack of `layers` the layer (from 0) belongs to."""
    return THIRDS[3 * layer // layers]
