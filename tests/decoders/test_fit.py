"""Whether a model fits a decoder's task: read in one direction, and long enough for prompt and completion."""

from __future__ import annotations

from typing import Any

import pytest

from bench.config.backbone import Backbone
from bench.config.catalog import WORKFLOW, load_catalog
from bench.config.cell import spec_hash_of
from bench.config.resolve import load_study
from bench.estimate.parameters import meta_model
from bench.inputs.model_fit import faults

TASK = load_catalog(WORKFLOW).tasks["gsm8k"].item
SIZES = {"vocab_size": 50, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
DECODERS = {
    "llama": SIZES,
    "qwen3": {**SIZES, "head_dim": 4},
    "gpt2": {"vocab_size": 50, "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 512},
}


def found(model_type: str, config: dict[str, Any], **recipe: int) -> list[str]:
    backbone = Backbone(
        name="small", path="x", kinds=["causal-lm"], matrices=["q"], config={"model_type": model_type, **config}
    )
    model = meta_model(backbone, "causal-lm", 0)
    return [message for _, message in faults(model, TASK, TASK.recipe.model_copy(update=recipe), backbone)]


@pytest.mark.parametrize("model_type", DECODERS)
def test_a_decoder_of_enough_positions_fits(model_type: str) -> None:
    longest = {} if model_type == "gpt2" else {"max_position_embeddings": 512}
    assert found(model_type, {**DECODERS[model_type], **longest}) == []
    (message,) = found(model_type, {**DECODERS[model_type], **longest}, max_target_length=257)
    assert "recipe.max_length, 256, and what is behind it, 257 learned or 256 generated, do not fit" in message


@pytest.mark.parametrize("model_type", ["bert", "roberta"])
def test_a_model_that_reads_both_ways_is_refused(model_type: str) -> None:
    messages = found(model_type, {**SIZES, "max_position_embeddings": 600})
    assert "backbone 'small' is no decoder: its tokens see those behind them, which are to be learned" in messages


def test_a_kind_that_a_backbone_serves_too_changes_no_cell() -> None:
    cell = load_study("demo").find("sst2", "lora", "small", 0)
    spec = cell.model_dump(mode="json")
    spec["backbone"]["kinds"] = ["classification", "regression"]  # as records of version 0.1 have it
    assert spec_hash_of(spec) == cell.spec_hash
    spec["backbone"]["matrices"] = ["query"]
    assert spec_hash_of(spec) != cell.spec_hash
