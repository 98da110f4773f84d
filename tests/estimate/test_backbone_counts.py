"""The parameters of every backbone's file, and what LoRA and AdaLoRA add to it: predicted as PEFT counts them."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from helpers.toy_models import cell_of
from peft import AdaLoraConfig, LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModel

from bench.config.backbone import Backbone
from bench.config.catalog import load_catalog
from bench.config.cell import Cell
from bench.config.kinds import KINDS
from bench.estimate.parameters import label_count, meta_model, predict_parameters
from bench.estimate.tracing import DEPTHS

CATALOG = load_catalog()
BACKBONES = {name: entry.item for name, entry in CATALOG.backbones.items()}
RANK = 4
ALBERT = Backbone(
    name="albert",
    path="albert",
    kinds=["classification"],
    matrices=["query", "key", "value", "attention.dense", "ffn", "ffn_output"],
    head=["pooler", "classifier"],
    config={"model_type": "albert", "vocab_size": 90, "embedding_size": 8, "hidden_size": 16, "intermediate_size": 24}
    | {"num_hidden_layers": 5, "num_attention_heads": 2},
)


def cell_on(backbone: Backbone, adapter: str) -> Cell:
    cell = cell_of(adapter=adapter, allocator="fixed", rank=RANK)
    kind = KINDS[backbone.kinds[0]]
    writes = kind.family == "encoder-decoder"
    task = CATALOG.tasks["digits" if kind.input == "image" else "cnn_dailymail"].item
    task = task if writes or kind.input == "image" else cell.task
    return cell.model_copy(update={"backbone": backbone, "task": task})


def counted_by_peft(cell: Cell) -> tuple[int, int]:
    """What `print_trainable_parameters` prints: trained parameters, and all."""
    backbone = cell.backbone
    common: dict[str, Any] = {"target_modules": list(backbone.matrices), "bias": "none"}
    common["fan_in_fan_out"] = backbone.config["model_type"] == "gpt2"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = (
            LoraConfig(r=RANK, **common)
            if cell.method.adapter == "lora"
            else AdaLoraConfig(init_r=RANK, target_r=RANK - 1, total_step=10, **common)
        )
        model = get_peft_model(meta_model(backbone, cell.task.kind, label_count(cell)), config)
    for name, parameter in model.named_parameters():
        if "ranknum" in name:  # a constant of AdaLoRA, which PEFT makes trainable where it moves it (tests/defects, S2)
            parameter.requires_grad_(False)
    found: tuple[int, int] = model.get_nb_trainable_parameters()
    return found


@pytest.mark.parametrize("backbone", [*BACKBONES.values(), ALBERT], ids=lambda backbone: backbone.name)
def test_adapters_are_counted_as_peft_counts_them(backbone: Backbone) -> None:
    # Every layer of a stack is alike, so two of them are enough for what AdaLoRA adds to LoRA's counts.
    depths = {key: 2 for key in DEPTHS if backbone.config.get(key)}
    shallow = backbone.model_copy(update={"config": {**backbone.config, **depths}})
    lora, adalora = cell_on(backbone, "lora"), cell_on(shallow, "adalora")
    predicted = predict_parameters(lora)
    trained, whole = counted_by_peft(lora)
    assert predicted.adapter_start == trained
    assert predicted.total == whole - trained
    assert predict_parameters(adalora).adapter_start == counted_by_peft(adalora)[0]


@pytest.mark.parametrize("name", [name for name, backbone in BACKBONES.items() if backbone.parameters])
def test_the_config_has_the_published_number_of_parameters(name: str) -> None:
    """Of the pretrained model without a head of a task, but with a pooler; a tied lm_head is the embedding."""
    backbone = BACKBONES[name]
    fields = {key: value for key, value in backbone.config.items() if key != "model_type"}
    with torch.device("meta"):
        model = AutoModel.from_config(AutoConfig.for_model(backbone.config["model_type"], **fields))
    head = model.get_input_embeddings().weight.numel() if backbone.untie_head else 0
    assert sum(p.numel() for p in model.parameters()) + head == backbone.parameters


@pytest.mark.parametrize(
    ("name", "matrix", "shape", "number"),
    [
        ("llama-3.2-1b", "k_proj", (2048, 512), 16),
        ("llama-3.2-3b", "v_proj", (3072, 1024), 28),
        ("qwen3-0.6b", "q_proj", (1024, 2048), 28),
        ("qwen3-1.7b", "k_proj", (2048, 1024), 28),
        ("smollm2-135m", "k_proj", (576, 192), 30),
        ("gpt2", "c_attn", (768, 2304), 12),
        ("gpt2", "mlp.c_proj", (3072, 768), 12),
    ],
)
def test_matrices_have_their_own_shapes(name: str, matrix: str, shape: tuple[int, int], number: int) -> None:
    sites = [s for s in predict_parameters(cell_on(BACKBONES[name], "lora")).sites if s.matrix == matrix]
    assert {(site.in_features, site.out_features) for site in sites} == {shape}
    assert len(sites) == number


def test_a_matrix_that_many_layers_share_counts_once() -> None:
    predicted = predict_parameters(cell_on(ALBERT, "lora"))
    assert len(predicted.sites) == 6
    assert predicted.adapter_start == RANK * (4 * (16 + 16) + 2 * (16 + 24))
