"""What is traced under autocast on the meta device is what PyTorch's own autocast takes on the CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from bench.config.cell import Cell
from bench.config.rank_schedule import schedule_of
from bench.config.resolve import load_study
from bench.estimate import tracing
from bench.estimate.counters import LiveBytes, MatmulOperations
from bench.estimate.meta_autocast import FLOAT32_ON_CUDA, LOWER, MetaAutocast
from bench.estimate.parameters import label_count, meta_model
from bench.estimate.tracing import BatchShape
from bench.evaluation.loss import task_loss
from bench.inputs.collate import Batch
from bench.models import backbone as loading
from bench.models.adapters import attach
from bench.models.backbone import find_sites, prepare_for_training
from bench.models.core import build_core

SIZES = {"vocab_size": 310, "num_attention_heads": 4, "max_position_embeddings": 40}
DEBERTA = {
    **SIZES,
    "model_type": "deberta-v2",
    "num_hidden_layers": 2,
    "hidden_size": 48,
    "intermediate_size": 72,
    "relative_attention": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "position_buckets": 8,
}
GPT2 = {"model_type": "gpt2", "vocab_size": 310, "n_embd": 48, "n_layer": 2, "n_head": 4, "pad_token_id": 0}
GPT2 |= {"bos_token_id": 1, "eos_token_id": 2}


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that is fast at bfloat16, whichever this one is."""
    there = lambda _, storage: torch.float32 if storage == "fp32" else torch.bfloat16  # noqa: E731
    monkeypatch.setattr(loading, "matmul_dtype", there)


def cell_of(config: dict[str, Any], storage: str, adapter: str, **recipe: Any) -> Cell:
    cell = load_study("paper").find("sst2", "lora", "small", 0)
    matrices, heads = (["c_fc"], ["score"]) if config is GPT2 else (["query_proj"], ["pooler", "classifier"])
    own = {"config": config, "matrices": matrices, "head": heads, "attention": "eager"}
    changes = {"backbone": own, "method": {"storage": storage, "adapter": adapter}, "recipe": recipe}
    return cell.model_copy(update={part: getattr(cell, part).model_copy(update=new) for part, new in changes.items()})


def measured(cell: Cell, batch: BatchShape) -> tuple[int, int]:
    """Bytes and operations of a step that is really made."""
    torch.manual_seed(0)
    model = meta_model(cell.backbone, cell.task.kind, label_count(cell)).to_empty(device="cpu")
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    prepare_for_training(model, cell, "cpu")
    sites = find_sites(model, cell.backbone)
    model = attach(model, cell, sites)
    sizes = [(site.in_features, site.out_features) for site in sites]
    core = build_core(model, sites, cell, schedule_of(cell, 100 * batch.rows, sizes))
    shapes = tracing._meta_batch(cell, batch)
    inputs = {name: torch.ones(values.shape, dtype=values.dtype) for name, values in shapes.inputs.items()}
    inputs["attention_mask"][0, -3:] = 0
    rows = Batch(inputs, torch.ones(batch.rows, dtype=torch.long), 0)
    task_loss(model, rows, cell.task.kind)[0].backward()  # tables of positions are made once
    core.discard_gradients()
    held = [*model.parameters(), *model.buffers(), core.flat.data, core.flat.grad]
    with LiveBytes(held) as live, MatmulOperations() as matmuls:
        core.accumulate(task_loss(model, rows, cell.task.kind)[0])
    return live.peak, matmuls.total


@pytest.mark.parametrize("config", [DEBERTA, GPT2], ids=["deberta", "gpt2"])
@pytest.mark.parametrize(("adapter", "checkpointed"), [("lora", False), ("full", False), ("full", True)])
def test_a_step_takes_what_was_traced(config: dict[str, Any], adapter: str, checkpointed: bool) -> None:
    cell, batch = cell_of(config, "fp32_autocast", adapter, gradient_checkpointing=checkpointed), BatchShape(8, 16)
    activations, operations = measured(cell, batch)
    traced = tracing._training_step(cell, {}, batch, "cpu")
    assert traced.activations == pytest.approx(activations, rel=0.03 if adapter == "lora" else 1e-3)
    assert traced.operations == operations


def test_it_takes_less_than_float32_and_more_than_bfloat16() -> None:
    cells = [cell_of(DEBERTA, storage, "lora") for storage in ("fp32", "fp32_autocast", "bf16")]
    whole, autocast, half = (tracing._training_step(cell, {}, BatchShape(8, 32), "cuda").activations for cell in cells)
    assert whole > autocast > half


def test_each_matrix_that_is_trained_is_cast_once() -> None:
    leaf, trained, frozen = (torch.randn(4, 4, device="meta", requires_grad=grad) for grad in (True, True, False))
    x = 2 * leaf  # no parameter, so that it is cast each time
    with torch.autocast("cpu", torch.bfloat16), MetaAutocast("cuda"):
        with LiveBytes([x, trained, frozen]) as live:
            products = [functional.linear(x, weight) for weight in (trained, trained, frozen, frozen)]
        assert {product.dtype for product in products} == {torch.bfloat16}
        assert functional.softmax(products[0], -1).dtype == torch.float32
    # The backward pass of the trained matrix needs x twice, that of x the trained matrix once and the frozen one twice.
    kept = 2 + 1 + 2
    assert live.peak == 2 * 16 * (len(products) + kept + 1)  # and the last x, while it is multiplied
    with MetaAutocast("cuda"):
        assert functional.linear(x, trained).dtype == torch.float32


def test_the_lists_hold_functions() -> None:
    assert functional.linear in LOWER
    assert torch.Tensor.__matmul__ in LOWER
    assert functional.layer_norm in FLOAT32_ON_CUDA
    assert not LOWER & FLOAT32_ON_CUDA
