"""The role of a matrix in its layer (query, value, ...), whatever the model calls it.

A method names roles, so that one file serves every backbone.
"""

from __future__ import annotations

from typing import Literal

Role = Literal["query", "key", "value", "query-key-value", "attention-output", "feed-forward-in", "feed-forward-out"]
Third = Literal["lower", "middle", "upper"]
THIRDS: tuple[Third, ...] = ("lower", "middle", "upper")

# Ends of module paths in BERT, DeBERTa, BART, T5, LLaMA, GPT-2, GPT-NeoX, BLOOM, Phi-3 and models like these.
_SUFFIXES: dict[Role, tuple[str, ...]] = {
    "query": ("query", "query_proj", "q_proj", "q"),
    "key": ("key", "key_proj", "k_proj", "k"),
    "value": ("value", "value_proj", "v_proj", "v"),
    # One matrix that makes queries, keys and values. An adapter's ranks can't be told apart in it: it is adapted whole.
    "query-key-value": ("c_attn", "query_key_value", "qkv_proj"),
    "attention-output": ("attention.output.dense", "attention.dense", "attn.c_proj", "out_proj", "o_proj", "o"),
    "feed-forward-in": (
        "intermediate.dense",
        "mlp.c_fc",
        "dense_h_to_4h",
        "gate_up_proj",
        "fc1",
        "up_proj",
        "gate_proj",
        "wi",
        "wi_0",
        "wi_1",
    ),
    "feed-forward-out": ("output.dense", "mlp.c_proj", "dense_4h_to_h", "fc2", "down_proj", "wo"),
}


def role_of(matrix: str) -> Role | None:
    """The role of the matrix at the module path `matrix`, or None if its name is unknown.

    The longest suffix wins: 'attention.output.dense' also ends in 'output.dense'.

    >>> role_of("encoder.layer.0.attention.output.dense")
    'attention-output'
    """
    matches = [
        (len(suffix), role)
        for role, suffixes in _SUFFIXES.items()
        for suffix in suffixes
        if f".{matrix}".endswith(f".{suffix}")
    ]
    return max(matches)[1] if matches else None


def third_of(layer: int, layers: int) -> Third:
    """The third of a stack of `layers` layers that contains the layer with index `layer` (from 0)."""
    return THIRDS[3 * layer // layers]
