"""A base in float32 that multiplies in bfloat16: what torch.autocast gives, but for heads and adapter, in float32."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small_cells import Lab, Moment, outcome, record_of
from peft.tuners.lora import LoraLayer
from torch import Tensor

from bench.config.cell import Cell
from bench.config.method import Method
from bench.engine.fused_layers import fused_forward
from bench.errors import EXIT_TRY_AGAIN
from bench.estimate.parameters import predict_parameters
from bench.evaluation.loss import task_loss
from bench.inputs.backbones import prepare_backbone
from bench.inputs.collate import Batch
from bench.models import backbone as loading
from bench.models.adapters import attach
from bench.models.backbone import find_sites, load_backbone
from bench.models.precision import matmul_dtype
from bench.training.rng import seed_everything

CPU = torch.device("cpu")
AUTOCAST = torch.autocast("cpu", torch.bfloat16)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that is fast at bfloat16, whichever this one is."""
    there = lambda _, storage: torch.float32 if storage == "fp32" else torch.bfloat16  # noqa: E731
    monkeypatch.setattr(loading, "matmul_dtype", there)


def stored(lab: Lab, storage: str, method: str = "lora", **recipe: Any) -> Cell:
    cell = lab.cell(method, **recipe)
    return cell.model_copy(update={"method": cell.method.model_copy(update={"storage": storage})})


def loaded(lab: Lab, cell: Cell) -> Any:
    """The model of `cell` without dropout, with adapters that do something."""
    seed_everything(0)
    model = load_backbone(cell, prepare_backbone(cell.backbone, mirror=None, cache=lab.cache), CPU)
    model = attach(model, cell, find_sites(model, cell.backbone))
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def batch_of(cell: Cell) -> Batch:
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(5, 200, (4, 12), generator=generator)
    mask = (torch.arange(12) < torch.tensor([[12], [9], [12], [5]])).long()
    size = (4, 7) if cell.task.generates else (4,)
    targets = torch.randint(0, 200 if cell.task.generates else 2, size, generator=generator)
    return Batch({"input_ids": ids, "attention_mask": mask}, targets, 0)


def passed(model: Any, cell: Cell, around: AbstractContextManager[Any] | None = None) -> tuple[Tensor, Tensor]:
    """The logits of a pass, in the type they had, and the gradients of all that is trained, in one vector."""
    with around or nullcontext():
        loss, logits = task_loss(model, batch_of(cell), cell.task.kind)
    loss.backward()
    trained = sorted((name, p.grad) for name, p in model.named_parameters() if p.grad is not None)
    return logits.detach(), torch.cat([grad.flatten() for _, grad in trained])


def off(found: Tensor, exact: Tensor) -> float:
    return float((found - exact).norm() / exact.norm())


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("kind", ["classification", "summarization"])
def test_near_float32_and_nearer_than_a_base_in_bfloat16(shared_lab: Lab, shared_summaries: Lab, kind: str) -> None:
    """PEFT's own layers: what the storage alone does."""
    lab = shared_lab if kind == "classification" else shared_summaries
    found = {s: passed(loaded(lab, c := stored(lab, s)), c) for s in ("fp32", "fp32_autocast", "bf16")}
    for exact, autocast, half in zip(*found.values(), strict=True):
        assert 0 < off(autocast, exact) < 0.02
        assert off(autocast, exact) < off(half, exact)


@pytest.mark.usefixtures("fast")
def test_all_but_the_heads_is_what_torch_autocast_gives(shared_summaries: Lab) -> None:
    """A model without heads that is trained in full: logits and gradients to the last bit."""
    cell, plain = (stored(shared_summaries, s, "full") for s in ("fp32_autocast", "fp32"))
    ours = passed(loaded(shared_summaries, cell), cell)
    theirs = passed(loaded(shared_summaries, plain), plain, AUTOCAST)
    assert ours[1].dtype == torch.float32
    assert all(map(torch.equal, ours, theirs))


@pytest.mark.usefixtures("fast")
def test_heads_multiply_in_float32(shared_lab: Lab) -> None:
    cell = stored(shared_lab, "fp32_autocast")
    model = loaded(shared_lab, cell)
    types: dict[str, torch.dtype] = {}
    for name, module in model.named_modules():
        if name.endswith(("modules_to_save.default", "layer.0.output.dense.base_layer")):
            module.register_forward_hook(lambda _m, _x, y, name=name: types.update({name.split(".")[-3]: y.dtype}))
    passed(model, cell)
    assert types == {"output": torch.bfloat16, "pooler": torch.float32, "classifier": torch.float32}


@pytest.mark.usefixtures("fast")
def test_an_encoder_by_itself_multiplies_as_in_the_model(shared_summaries: Lab) -> None:
    """Before a text is generated, its source is encoded by the encoder alone."""
    cell = stored(shared_summaries, "fp32_autocast")
    model, inputs = loaded(shared_summaries, cell), batch_of(cell).inputs
    with torch.no_grad():
        alone = model.get_encoder()(**inputs).last_hidden_state
        whole = model(**inputs, decoder_input_ids=inputs["input_ids"]).encoder_last_hidden_state
    exact = loaded(shared_summaries, stored(shared_summaries, "fp32")).get_encoder()(**inputs).last_hidden_state
    assert torch.equal(alone, whole)
    assert not torch.equal(alone, exact)


def test_where_bfloat16_is_slow_it_is_a_base_in_float32(shared_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "matmul_dtype", lambda *_: torch.float32)
    ours, theirs = (passed(loaded(shared_lab, c := stored(shared_lab, s)), c) for s in ("fp32_autocast", "fp32"))
    assert all(map(torch.equal, ours, theirs))


def test_a_cell_that_is_interrupted_and_what_its_record_says(
    lab: Lab, tmp_path: Path, undisturbed: Callable[[Lab, Cell], dict[str, Any]]
) -> None:
    cell, out = lab.cell("adalora_autocast", accumulation=2, gradient_checkpointing=True), tmp_path / "out"
    config = json.loads((lab.model / "config.json").read_text())
    cell = lab.prepare(cell.model_copy(update={"backbone": cell.backbone.model_copy(update={"config": config})}))
    assert lab.train(cell, out, Moment("step", 6), every=None) == EXIT_TRY_AGAIN
    assert lab.train(cell, out, every=None, attempt=2) == 0
    assert outcome(out) == undisturbed(lab, cell)
    record = record_of(out)
    assert record.training is not None
    assert record.bytes is not None
    assert record.training.resumed_at == (6,)
    assert record.spec["method"]["storage"] == "fp32_autocast"
    assert f"torch.{record.environment['matmul_precision']}" == str(matmul_dtype("cpu", "bf16"))
    assert record.bytes.base == predict_parameters(cell).base
    assert record.bytes.peak.predicted


def test_only_what_is_stored_in_float32_is_trained_in_full() -> None:
    words = {"name": "m", "label": "M", "adapter": "full"}
    assert Method(**words, storage="fp32_autocast").full_precision
    with pytest.raises(ValueError, match="storage must be fp32 or fp32_autocast, not bf16"):
        Method(**words, storage="bf16")


def test_these_layers_are_peft_s_own(shared_lab: Lab) -> None:
    """Else the tests above would compare ours with ours."""
    layers = [m for m in loaded(shared_lab, stored(shared_lab, "fp32")).modules() if isinstance(m, LoraLayer)]
    assert layers
    assert not any(getattr(layer.forward, "func", None) is fused_forward for layer in layers)
