"""Matrices have roles whatever a model calls them, and a method that names one that a model lacks is refused."""

from __future__ import annotations

import pytest

from bench.config.module_roles import role_of
from bench.config.resolve import load_study
from bench.errors import SpecError


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("transformer.h.0.attn.c_attn", "query-key-value"),
        ("transformer.h.0.attn.c_proj", "attention-output"),
        ("transformer.h.0.mlp.c_fc", "feed-forward-in"),
        ("transformer.h.0.mlp.c_proj", "feed-forward-out"),
        ("gpt_neox.layers.0.attention.query_key_value", "query-key-value"),
        ("gpt_neox.layers.0.attention.dense", "attention-output"),
        ("encoder.layer.0.attention.output.dense", "attention-output"),
        ("encoder.layer.0.output.dense", "feed-forward-out"),
        ("model.layers.0.self_attn.q_proj", "query"),
        ("model.layers.0.mlp.gate_proj", "feed-forward-in"),
        ("c_proj", None),
    ],
)
def test_the_role_of_a_matrix(path: str, role: str | None) -> None:
    assert role_of(path) == role


def test_a_method_of_single_roles_is_refused_where_one_matrix_has_three() -> None:
    words = ["tasks=[sst2]", "backbones={classification: gpt2}", "methods=[lora_query_value]"]
    message = r"no matrix of 'gpt2' is a query; its queries, keys and values come from one matrix.* query-key-value"
    with pytest.raises(SpecError, match=message):
        load_study("demo", words)
    assert load_study("demo", [*words[:2], "methods=[lora]"]).cells
