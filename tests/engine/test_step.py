"""The core's promises around a step: order, accumulation, skipping, budget views, compaction, several processes."""

from __future__ import annotations

import os

import pytest
import torch
from helpers.small_cells import torchrun_variables
from helpers.toy_models import adapted, batches, cell_of, core_of, loss_of, sites_of
from torch import multiprocessing

from bench.distributed import init_process_group
from bench.engine.schedule import RankSchedule
from bench.errors import BenchError
from bench.models.core import build_core

SHAPES = [(8, 16), (16, 8), (8, 8), (12, 8)]


def schedule_of(target: int = 8, initial_steps: int = 3, final_steps: int = 5, interval: int = 2, total: int = 16):
    return RankSchedule(
        initial_budget=16,
        target_budget=target,
        initial_steps=initial_steps,
        final_steps=final_steps,
        interval=interval,
        total_steps=total,
    )


def train(core, steps: int, data) -> list:
    reports = []
    for _ in range(steps):
        core.accumulate(loss_of(core.model, next(data)))
        reports.append(core.step())
    return reports


def test_a_wrong_order_is_refused():
    core = core_of(SHAPES, 4, schedule_of(total=16))
    data = batches(0, 4, 16)
    with pytest.raises(BenchError, match="step without accumulate"):
        core.step()
    core.accumulate(loss_of(core.model, next(data)))
    with pytest.raises(BenchError, match="between optimizer steps"):
        core.state_dict()
    core.step()
    with core.budget_view(), pytest.raises(BenchError, match="budget_view"):
        core.accumulate(loss_of(core.model, next(data)))
    core.accumulate(loss_of(core.model, next(data)))
    core.model.zero_grad()
    with pytest.raises(BenchError, match="only the core may clear gradients"):
        core.step()


def test_no_step_beyond_the_schedule():
    core = core_of(SHAPES, 4, schedule_of(total=16))
    data = batches(0, 4, 16)
    train(core, 16, data)
    core.accumulate(loss_of(core.model, next(data)))
    with pytest.raises(BenchError, match="all 16 steps"):
        core.step()


@pytest.mark.parametrize(("adapter", "allocator"), [("lora", "fixed"), ("adalora", "fixed"), ("adalora", "adalora")])
def test_four_micro_batches_are_one_batch_of_four_times_the_rows(adapter, allocator):
    settings = {"adapter": adapter, "allocator": allocator, "orthogonality": 0.3}
    schedule = schedule_of()
    whole = core_of(SHAPES, 4, schedule, cell_of(**settings))
    parts = core_of(SHAPES, 4, schedule, cell_of(**settings, batch_size=32, accumulation=4))
    data = batches(0, 16, 16)
    for _ in range(schedule.total_steps):
        x, y = next(data)
        whole.accumulate(loss_of(whole.model, (x, y)))
        for rows in range(0, 16, 4):
            parts.accumulate(loss_of(parts.model, (x[rows : rows + 4], y[rows : rows + 4])))
        a, b = whole.step(), parts.step()
        torch.testing.assert_close(a.loss, b.loss, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(a.regularizer, b.regularizer, rtol=1e-4, atol=1e-6)
        assert whole.masks() == parts.masks()
    torch.testing.assert_close(whole.flat.data, parts.flat.data, rtol=1e-3, atol=1e-4)


def test_a_smaller_last_batch_counts_by_its_rows():
    schedule = schedule_of()
    whole, parts = (core_of(SHAPES, 4, schedule, random=True) for _ in range(2))
    x, y = next(batches(0, 10, 16))
    whole.accumulate(loss_of(whole.model, (x, y)))
    parts.accumulate(loss_of(parts.model, (x[:8], y[:8])), share=0.8)
    parts.accumulate(loss_of(parts.model, (x[8:], y[8:])), share=0.2)
    torch.testing.assert_close(whole.flat.grad, parts.flat.grad, rtol=1e-4, atol=1e-6)


def test_weight_decay_spares_the_vectors_of_the_head():
    core = core_of(SHAPES, 4, schedule_of(), cell_of(weight_decay=0.5, orthogonality=0.0, learning_rate=0.1))
    bias = core.model.get_base_model().head.modules_to_save["default"].bias
    with torch.no_grad():
        bias.fill_(1.0)
    before = core.flat.data.clone()
    core.accumulate(0.0 * loss_of(core.model, next(batches(0, 4, 16))))
    core.step()
    decayed = core.flat.decayed
    torch.testing.assert_close(core.flat.data[:decayed], before[:decayed] * (1 - 0.1 * 0.5))
    assert torch.equal(bias, torch.ones_like(bias))


def test_learning_rates_are_those_of_the_usual_linear_schedule():
    from transformers import get_linear_schedule_with_warmup

    core = core_of(SHAPES, 4, schedule_of(total=16), cell_of(warmup_steps=4, learning_rate=0.02))
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=0.02)
    usual = get_linear_schedule_with_warmup(optimizer, 4, 16)
    for step in range(16):
        assert core.learning_rate(step) == pytest.approx(usual.get_last_lr()[0])
        optimizer.step()
        usual.step()


@pytest.mark.parametrize("target", [1, 3, 8, 15])
def test_compaction_leaves_outputs_moments_and_importance_as_they_were(target):
    schedule = schedule_of(target=target)
    compact, whole = (
        core_of(SHAPES, 4, schedule, cell_of(method={"compact": c}, orthogonality=0.0, gradient_clip=None))
        for c in (True, False)
    )
    data = list(zip(range(16), batches(0, 8, 16), strict=False))
    batch = data[0][1]
    for index, (_, x) in enumerate(data):
        for core in (compact, whole):
            core.accumulate(loss_of(core.model, x))
            core.step()
        torch.testing.assert_close(loss_of(compact.model, batch), loss_of(whole.model, batch), rtol=1e-5, atol=1e-6)
        assert compact.masks() == whole.masks()
        if index + 1 < schedule.freezes_at:
            assert torch.equal(compact.flat.data, whole.flat.data)
    assert compact.trainable_parameters()["adapter"] == compact.live_parameters() == whole.live_parameters()
    assert whole.trainable_parameters()["adapter"] > compact.trainable_parameters()["adapter"]
    for core in (compact, whole):
        assert sum(core.live_ranks().values()) == target
        assert core.allocator.bytes() == 0
    if target < len(SHAPES):
        assert 0 in compact.live_ranks().values()


def test_compaction_changes_no_dropout():
    """Matrices that have lost all ranks draw as before, so that the dropout of later layers stays the same."""
    settings = {"orthogonality": 0.0, "gradient_clip": None}
    compact, whole = (
        core_of(SHAPES, 4, schedule_of(target=1), cell_of(method={"compact": c}, **settings), dropout=0.3)
        for c in (True, False)
    )
    for step, x in zip(range(16), batches(0, 8, 16), strict=False):
        losses, states = [], []
        for core in (compact, whole):
            torch.manual_seed(step)
            losses.append(loss_of(core.model, x))
            states.append(torch.get_rng_state())
            core.accumulate(losses[-1])
            core.step()
        torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-6)
        assert torch.equal(*states)
    assert list(compact.live_ranks().values()).count(0) == len(SHAPES) - 1
    assert compact.bytes()["optimizer"] == 8 * compact.flat.elements


def test_the_regularizer_of_a_compacted_adapter_is_that_of_its_ragged_ranks():
    core = core_of(SHAPES, 4, schedule_of(target=7), cell_of(orthogonality=0.3))
    train(core, 12, batches(0, 8, 16))
    assert len(set(core.live_ranks().values())) > 1
    matrices = [v.detach().clone().requires_grad_() for f in core.flat.factors(core.flat.data) for v in (f[0], f[1].T)]
    want = 0.3 * sum(torch.norm(p @ p.T - torch.eye(len(p)), p="fro") for p in matrices) / len(matrices)
    want.backward()
    core.flat.zero_gradients()
    value = core._regularizer.add_gradient()
    torch.testing.assert_close(value, want.detach())
    grads = [g for f in core.flat.factors(core.flat.grad) for g in (f[0], f[1].T)]
    for grad, matrix in zip(grads, matrices, strict=True):
        torch.testing.assert_close(grad, matrix.grad, rtol=1e-4, atol=1e-6)


def test_two_equal_trainings_give_the_same_bits():
    cores = [core_of(SHAPES, 4, schedule_of(), cell_of()) for _ in range(2)]
    for core in cores:
        train(core, 16, batches(0, 8, 16))
    assert torch.equal(cores[0].flat.data, cores[1].flat.data)
    assert cores[0].masks() == cores[1].masks()


def test_frozen_matrices_never_change():
    core = core_of(SHAPES, 4, schedule_of(), cell_of())
    frozen = {n: p.detach().clone() for n, p in core.model.named_parameters() if not p.requires_grad}
    train(core, 16, batches(0, 8, 16))
    for name, parameter in core.model.named_parameters():
        if not parameter.requires_grad:
            assert torch.equal(parameter, frozen[name]), name


def test_half_precision_heads_are_refused():
    model = adapted(SHAPES, 4)
    model.get_base_model().head.bfloat16()
    with pytest.raises(BenchError, match="must be float32"):
        build_core(model, sites_of(SHAPES), cell_of(), schedule_of())


def _process(rank: int, variables: dict[str, str], model, results, optimizer: str) -> None:
    torch.set_num_threads(1)
    os.environ.update(variables)
    cell = cell_of(processes=2, optimizer=optimizer)
    core = build_core(model, sites_of(SHAPES), cell, schedule_of(), init_process_group())
    for _, (x, y) in zip(range(16), batches(0, 8, 16), strict=False):
        part = slice(4 * rank, 4 * rank + 4)
        core.accumulate(loss_of(model, (x[part], y[part])))
        core.step()
    results.put((rank, core.masks(), core.flat.data.numpy()))


@pytest.mark.long
@pytest.mark.parametrize("optimizer", ["adamw", "adamw8bit"])
def test_two_processes_decide_as_one_with_the_joint_batch(optimizer):
    model = adapted(SHAPES, 4)
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    processes = [
        context.Process(target=_process, args=(rank, variables, model, results, optimizer))
        for rank, variables in enumerate(torchrun_variables(2))
    ]
    for process in processes:
        process.start()
    found = {rank: (masks, data) for rank, masks, data in (results.get() for _ in processes)}
    for process in processes:
        process.join()
    alone = core_of(SHAPES, 4, schedule_of(), cell_of(optimizer=optimizer))
    train(alone, 16, batches(0, 8, 16))
    assert found[0][0] == found[1][0] == alone.masks()
    assert (found[0][1] == found[1][1]).all()
    torch.testing.assert_close(torch.from_numpy(found[0][1]), alone.flat.data, rtol=1e-3, atol=1e-4)
