"""R1 to R5: what PEFT's AdaLoRA does wrong with its regularizer, and ours does not."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from helpers.toy_models import Branches, adapted, batches, cell_of, core_of, loss_of, peft_regularizer, twin
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from bench.engine.schedule import RankSchedule

SHAPES = [(8, 16), (16, 8), (8, 8)]
SCHEDULE = RankSchedule(initial_budget=12, target_budget=6, final_steps=4, total_steps=12)


class Counter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def gradient_of(weight: float, micro_batches: int = 1) -> tuple[torch.Tensor, float]:
    """The gradient of the regularizer alone after one step's accumulation, and its reported value."""
    cell = cell_of(orthogonality=weight, batch_size=32, accumulation=micro_batches, gradient_clip=None)
    core = core_of(SHAPES, 4, SCHEDULE, cell)
    for _ in range(micro_batches):
        core.accumulate(0.0 * loss_of(core.model, next(batches(0, 4, 16))))
    seen = {}
    update = core.optimizer.step
    core.optimizer.step = lambda *args: (seen.update(gradient=core.flat.grad.clone()), update(*args))[1]
    report = core.step()
    return seen["gradient"], float(report.regularizer)


class WithLoss(Branches):
    """Like a transformers model: labels in, loss and logits out."""

    def forward(self, x, labels=None, **kwargs):
        logits = super().forward(x, **kwargs)
        loss = None if labels is None else functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return SimpleNamespace(loss=loss, logits=logits)


def test_defect_R1_the_regularizer_acts_whatever_wraps_the_model(monkeypatch):
    gradient, value = gradient_of(0.1)  # the model returns plain logits
    assert value > 0
    assert gradient.abs().max() > 0
    monkeypatch.setattr("helpers.toy_models.Branches", WithLoss)
    x, y = next(batches(0, 4, 16))
    model = adapted(SHAPES, 4)  # without a task_type, as PEFT's default is
    task = functional.cross_entropy(model(x).logits.flatten(0, 1), y.flatten())
    torch.testing.assert_close(model(x, labels=y).loss, task)  # PEFT dropped it and said nothing


def test_defect_R2_the_loss_of_the_wrapped_model_is_the_tasks_alone(monkeypatch):
    monkeypatch.setattr("helpers.toy_models.Branches", WithLoss)
    x, y = next(batches(0, 4, 16))
    core = core_of(SHAPES, 4, SCHEDULE, cell_of(orthogonality=0.1))
    theirs = adapted(SHAPES, 4)
    theirs.eval()
    core.model.eval()
    true = functional.cross_entropy(theirs(x).logits.flatten(0, 1), y.flatten())
    torch.testing.assert_close(core.model.base_model(x, labels=y).loss, true)
    added = theirs.base_model(x, labels=y).loss - true
    torch.testing.assert_close(added, peft_regularizer(theirs, 0.1))
    core.model.train()
    loss = core.model.base_model(x, labels=y).loss
    core.accumulate(loss)
    report = core.step()
    torch.testing.assert_close(report.loss, loss.detach())
    torch.testing.assert_close(report.regularizer, added.detach(), rtol=1e-4, atol=1e-6)


def test_defect_R3_the_regularizer_counts_once_a_step_whatever_the_accumulation():
    once, value = gradient_of(0.1)
    four, same = gradient_of(0.1, micro_batches=4)
    torch.testing.assert_close(four, once)
    assert same == pytest.approx(value)


def test_defect_R4_weight_zero_costs_nothing():
    counts = {}
    for weight in (0.0, 0.1):
        core = core_of(SHAPES, 4, SCHEDULE, cell_of(orthogonality=weight))
        core.accumulate(loss_of(core.model, next(batches(0, 4, 16))))
        with Counter() as counter:
            report = core.step()
        counts[weight] = counter.names
        assert (report.regularizer > 0) == (weight > 0)
    assert not {"bmm", "baddbmm", "eye"} & set(counts[0.0])
    assert {"baddbmm"} <= set(counts[0.1])
    assert len(counts[0.0]) < len(counts[0.1])


def test_defect_R4_peft_computes_a_regularizer_of_weight_zero(monkeypatch):
    monkeypatch.setattr("helpers.toy_models.Branches", WithLoss)
    x, y = next(batches(0, 4, 16))
    model = adapted(SHAPES, 4)
    model.peft_config["default"].orth_reg_weight = 0.0
    with Counter() as counter:
        model.base_model(x, labels=y)
    assert counter.names.count("eye") == 2 * len(SHAPES)


@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_defect_R5_the_coefficient_is_honoured(factor):
    base, value = gradient_of(0.1)
    scaled, scaled_value = gradient_of(0.1 * factor)
    torch.testing.assert_close(scaled, factor * base, rtol=1e-4, atol=1e-8)
    assert scaled_value == pytest.approx(factor * value, rel=1e-5)
    model = adapted(SHAPES, 4)
    want = peft_regularizer(twin(model), 0.1 * factor).detach()
    assert scaled_value == pytest.approx(float(want), rel=1e-5)
