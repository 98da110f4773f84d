"""Defects Q1 to Q5: faults around the adapters, in the libraries that are used with them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.toy_models import cell_of
from peft.utils.constants import TRANSFORMERS_MODELS_TO_ADALORA_TARGET_MODULES_MAPPING as DEFAULTS
from transformers import (
    AutoConfig,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    BitsAndBytesConfig,
    DebertaV2Config,
)

from bench.config.backbone import Backbone
from bench.config.catalog import load_catalog
from bench.config.cell import Cell
from bench.engine.schedule import RankSchedule
from bench.estimate.parameters import meta_model
from bench.models.adapters import adapter_hash, attach
from bench.models.backbone import find_sites, load_backbone
from bench.models.core import build_core

DEBERTA = load_catalog().backbones["deberta-v3-base"].item
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """DeBERTa-v3 in small, without a head, as the hub has it."""
    torch.manual_seed(0)
    values = {**DEBERTA.config, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 2}
    values |= {"num_hidden_layers": 2, "vocab_size": 200}
    values.pop("model_type")
    model = AutoModelForSequenceClassification.from_config(DebertaV2Config(**values))
    path = tmp_path_factory.mktemp("deberta")
    model.deberta.save_pretrained(path)
    return path


def cell(storage: str = "fp32", adapter: str = "adalora") -> Cell:
    allocator = "adalora" if adapter == "adalora" else "fixed"
    made = cell_of(adapter=adapter, allocator=allocator, rank=2, method={"storage": storage})
    return made.model_copy(update={"backbone": DEBERTA})


def quantized_by_transformers(folder: Path):
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    return AutoModelForSequenceClassification.from_pretrained(
        folder, quantization_config=config, dtype=torch.float16, device_map={"": "cpu"}
    )


def stored(model) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters())


def test_defect_Q1_the_heads_stay_out_of_quantization(folder):
    theirs = quantized_by_transformers(folder)
    assert [type(m).__name__ for m in (theirs.pooler.dense, theirs.classifier)] == ["Linear4bit", "Linear4bit"]
    model = load_backbone(cell("nf4"), folder, CPU)
    sites = find_sites(model, DEBERTA)
    for name, parameter in model.named_parameters():
        if any(name.startswith(f"{site.name}.weight") for site in sites):
            assert parameter.dtype == torch.uint8, name
        if name.startswith(("pooler", "classifier")):
            assert parameter.dtype == torch.float32, name
    adapted = attach(model, cell("nf4"), sites)
    core = build_core(adapted, sites, cell("nf4"), RankSchedule(initial_budget=36, target_budget=24, total_steps=4))
    for _ in range(4):
        tokens = torch.randint(1, 200, (2, 6))
        core.accumulate(adapted(input_ids=tokens, labels=torch.tensor([0, 2])).loss)
        assert core.step().skipped == 0
    assert sum(core.live_ranks().values()) == 24


def test_defect_Q2_a_4_bit_base_is_smaller_than_a_half_precision_one(folder):
    from peft import prepare_model_for_kbit_training

    ours, half = (load_backbone(cell(storage), folder, CPU) for storage in ("nf4", "bf16"))
    cast_up = prepare_model_for_kbit_training(quantized_by_transformers(folder))
    embeddings = "deberta.embeddings.word_embeddings.weight"
    assert cast_up.get_parameter(embeddings).dtype == torch.float32
    assert ours.get_parameter(embeddings).dtype == torch.bfloat16
    assert stored(ours) < stored(half)
    assert stored(cast_up) > stored(ours)


def test_defect_Q3_the_adapted_matrices_are_those_that_the_backbone_names(folder):
    model = load_backbone(cell(), folder, CPU)
    sites = find_sites(model, DEBERTA)
    assert len(sites) == 6 * model.config.num_hidden_layers  # 72 for the published twelve layers
    assert not any("pooler" in site.name for site in sites)
    linear = [n for n, m in model.named_modules() if hasattr(m, "in_features")]
    theirs = [n for n in linear if n.endswith(tuple(f".{suffix}" for suffix in DEFAULTS["deberta-v2"]))]
    assert len(theirs) == len(sites) + 1
    assert "pooler.dense" in theirs


FLAN_T5_SMALL = {
    "model_type": "t5",
    "vocab_size": 32128,
    "d_model": 512,
    "d_kv": 64,
    "num_heads": 6,
    "d_ff": 1024,
    "num_layers": 8,
    "num_decoder_layers": 8,
    "feed_forward_proj": "gated-gelu",
    "tie_word_embeddings": False,
}


def test_defect_Q4_the_count_of_t5_is_the_released_checkpoints(tmp_path):
    spec = Backbone(
        name="flan-t5-small",
        hub="google/flan-t5-small",
        kinds=["summarization"],
        matrices=["q", "v"],
        config=FLAN_T5_SMALL,
        untie_head=True,
        parameters=76_961_152,
    )
    model = meta_model(spec, "summarization", 0)
    assert sum(p.numel() for p in model.parameters()) == spec.parameters
    theirs = meta_model(spec.model_copy(update={"untie_head": False}), "summarization", 0)
    assert sum(p.numel() for p in theirs.parameters()) == 60_511_616

    small = {**FLAN_T5_SMALL, "vocab_size": 50, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1}
    small |= {"num_decoder_layers": 1, "num_heads": 2}
    released = AutoModelForSeq2SeqLM.from_config(AutoConfig.for_model(**small))
    released.lm_head.weight = torch.nn.Parameter(torch.randn(50, 16))
    released.all_tied_weights_keys.pop("lm_head.weight")
    released.save_pretrained(tmp_path)
    task = cell().task.model_copy(update={"kind": "summarization"})
    loaded = load_backbone(cell().model_copy(update={"backbone": spec, "task": task}), tmp_path, CPU)
    assert torch.equal(loaded.lm_head.weight, released.lm_head.weight)
    assert not torch.equal(loaded.lm_head.weight, loaded.shared.weight)


def test_defect_Q5_equal_seeds_give_equal_adapters_and_heads(folder):
    hashes = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        model = load_backbone(cell(), folder, CPU)
        hashes.append(adapter_hash(attach(model, cell(), find_sites(model, DEBERTA))))
    assert hashes[0] == hashes[1] != hashes[2]
