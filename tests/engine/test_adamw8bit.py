"""AdamW with moments in 8 bits: the bits of bitsandbytes' own, skipped steps, moving ranks, and where it can't run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import bitsandbytes
import pytest
import torch
from bitsandbytes import cextension
from helpers.toy_models import adapted, assert_same_bits, batches, cell_of, core_of, loss_of, sites_of, twin
from torch import Tensor, nn
from torch.nn import functional

from bench.engine import packed_moments
from bench.engine.adamw8bit import WORKING_BYTES
from bench.engine.carry import carry
from bench.engine.optimizers import check_optimizer
from bench.engine.options import StepOptions
from bench.engine.packed_moments import MAPS, bytes_of_tensor
from bench.engine.schedule import RankSchedule
from bench.engine.step import Core
from bench.errors import BenchError
from bench.estimate.counters import LiveBytes
from bench.models.core import build_core

SHAPES = [(256, 512), (300, 256), (700, 300)]
STEPS = 18
SCHEDULE = RankSchedule(
    initial_budget=12, target_budget=5, initial_steps=4, final_steps=6, interval=3, total_steps=STEPS
)  # freezes at 12
FIXED = RankSchedule(initial_budget=1, target_budget=1, total_steps=1000)
PLAIN = {"max_grad_norm": None, "decay": "constant", "learning_rate": 1e-2, "weight_decay": 0.05}


class Layers(nn.Module):
    """Three matrices, none of them a whole number of blocks, and a vector that is long enough to be packed."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(100, 77, bias=False), nn.Linear(77, 90, bias=False)
        self.third = nn.Linear(90, 4200)

    def forward(self, x: Tensor) -> Tensor:
        return self.third(torch.tanh(self.second(torch.tanh(self.first(x)))))


def losses_of(model: nn.Module, steps: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        x, y = torch.randn(8, 100, generator=generator), torch.randint(0, 4200, (8,), generator=generator)
        yield functional.cross_entropy(model(x), y)


def data(steps: int = STEPS) -> list[Any]:
    return [batch for batch, _ in zip(batches(0, 8, 700), range(steps), strict=False)]


def new_core(schedule: RankSchedule = SCHEDULE, **settings: Any) -> Core:
    return core_of(SHAPES, 4, schedule, cell_of(**{"optimizer": "adamw8bit", **settings}))


def train(core: Core, until: int) -> list[float]:
    losses = []
    for batch in data(until)[core.completed :]:
        core.accumulate(loss_of(core.model, batch))
        losses.append(float(core.step().loss))
    return losses


@pytest.mark.parametrize("chunk", [2**14, packed_moments.CHUNK])
def test_a_whole_model_trains_to_the_bits_of_bitsandbytes(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_moments, "CHUNK", chunk)
    torch.manual_seed(0)
    model = Layers()
    other = twin(model)
    core = Core(model, (), StepOptions(**PLAIN, optimizer="adamw8bit"), FIXED)
    matrices = [p for p in other.parameters() if p.ndim > 1]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": [other.third.bias], "weight_decay": 0.0}]
    theirs = bitsandbytes.optim.AdamW8bit(groups, lr=1e-2)
    for mine, loss in zip(losses_of(model, 12), losses_of(other, 12), strict=True):
        core.accumulate(mine)
        core.step()
        theirs.zero_grad()
        loss.backward()
        theirs.step()
        for one, parameter in zip(model.parameters(), other.parameters(), strict=True):
            assert torch.equal(one, parameter)
    assert core.bytes()["optimizer"] == MAPS + sum(bytes_of_tensor(p.numel()) for p in model.parameters())


@pytest.mark.parametrize("svd", [False, True], ids=["lora", "adalora"])
def test_each_row_of_an_adapter_is_a_tensor_to_bitsandbytes(svd: bool) -> None:
    model = adapted(SHAPES, 4, svd=svd, random=True)
    options = StepOptions(**PLAIN, optimizer="adamw8bit")
    core = Core(model, sites_of(SHAPES), options, RankSchedule(initial_budget=12, target_budget=12, total_steps=50))
    rows = [nn.Parameter(row.clone()) for block in core.flat.rows for row in block]
    theirs = bitsandbytes.optim.AdamW8bit(rows, lr=1e-2, weight_decay=0.05, min_8bit_size=1)
    rest = nn.Parameter(core.flat.data[core.flat.layout.row_elements :].clone())  # singular values, head: in 32 bits
    decayed = core.flat.decayed - core.flat.layout.row_elements
    exact = torch.optim.AdamW([rest], lr=1e-2, weight_decay=0.0)
    for batch in data(10):
        core.accumulate(loss_of(model, batch))
        core.flat.unfold_gradients()
        gradient = core.flat.grad.clone()
        core.flat.unfold_gradients = lambda: None
        for parameter, row in zip(rows, (row for block in core.flat.grad_rows for row in block), strict=True):
            parameter.grad = row.clone()
        rest.grad = gradient[core.flat.layout.row_elements :]
        core.step()
        del core.flat.unfold_gradients
        theirs.step()
        with torch.no_grad():
            rest[:decayed] *= 1 - 1e-2 * 0.05
        exact.step()
        for row, parameter in zip((row for block in core.flat.rows for row in block), rows, strict=True):
            assert torch.equal(row, parameter)
        torch.testing.assert_close(core.flat.data[core.flat.layout.row_elements :], rest.detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("trouble", [float("nan"), float("inf")])
def test_a_skipped_step_is_as_if_it_had_not_been(trouble: float) -> None:
    settings = {"allocator": "fixed", "decay": "constant", "orthogonality": 0.0}
    schedule = RankSchedule(initial_budget=12, target_budget=12, total_steps=50)
    troubled, spared = new_core(schedule, **settings), new_core(schedule, **settings)
    for step, batch in enumerate(data(8)):
        if step in (0, 3):  # the first one too: no correction of a bias is known yet
            before = troubled.state_dict()[0]
            troubled.accumulate(loss_of(troubled.model, batch) * trouble)
            assert troubled.step().skipped == 1
            after = troubled.state_dict()[0]
            assert all(torch.equal(before[name], after[name]) for name in before if name != "skipped")
            continue
        for core in (troubled, spared):
            core.accumulate(loss_of(core.model, batch))
            core.step()
    assert torch.equal(troubled.flat.data, spared.flat.data)
    assert troubled.skipped_steps() == 2


def test_adapters_without_a_gradient_keep_values_and_moments() -> None:
    core = new_core(weight_decay=0.5, orthogonality=0.0, allocator="fixed")
    train(core, 3)
    held = core.flat.elements_of(1)
    moved = core.flat.elements_of(2)

    def snapshot() -> list[Tensor]:
        return [core.flat.data.clone(), *(core.optimizer.moments[which].clone() for which in range(2))]

    before = snapshot()
    core.accumulate(loss_of(core.model, data(4)[3], skip=[1]))
    core.step()
    for old, new in zip(before, snapshot(), strict=True):
        assert all(torch.equal(old[part], new[part]) for part in held)
        assert all(not torch.equal(old[part], new[part]) for part in moved)


def test_ranks_take_their_moments_along_bit_for_bit() -> None:
    compact, whole = new_core(), new_core(method={"compact": False})
    for core in (compact, whole):
        train(core, SCHEDULE.freezes_at)
    assert compact.flat.layout.kept != whole.flat.layout.kept
    old, new = whole.flat.layout, compact.flat.layout
    for one, other in zip(compact.optimizer.moments, whole.optimizer.moments, strict=True):
        assert one.abs().sum() > 0
        assert torch.equal(one, carry(other, old, new))
    assert compact.bytes()["optimizer"] < whole.bytes()["optimizer"]


def test_ranks_that_begin_anew_warm_up_and_are_corrected_as_with_32_bits() -> None:
    packed, plain = (new_core(optimizer=name, allocator="fixed", weight_decay=0.1) for name in ("adamw8bit", "adamw"))
    generator = torch.Generator().manual_seed(2)
    start, singular = plain.flat.data.clone(), slice(plain.flat.layout.row_elements, plain.flat.layout.adapter_elements)
    for step in range(8):
        gradient = torch.randn(plain.flat.elements, generator=generator)
        for core in (packed, plain):
            if step == 3:
                core.optimizer.forget(((1, 3), (), (0,)), warmup=4)
            core.flat.grad.copy_(gradient)
            with torch.no_grad():
                core.optimizer.step(1e-2, torch.tensor(float(step == 5)))
        # Singular values are kept in 32 bits: what is left is rounding.
        torch.testing.assert_close(packed.flat.data[singular], plain.flat.data[singular], rtol=1e-5, atol=1e-7)
    moved = (plain.flat.data - start).abs().mean()
    assert (packed.flat.data - plain.flat.data).abs().mean() < 0.02 * moved


@pytest.mark.parametrize("stops", [(2,), (7,), (12,), (3, 8, 13)], ids=str)
def test_an_interrupted_training_goes_on_bit_for_bit(stops: tuple[int, ...]) -> None:
    whole, core = new_core(), new_core()
    want, got = train(whole, STEPS), []
    for stop in stops:
        got += train(core, stop)
        state = core.state_dict()
        core = new_core()
        core.flat.data.normal_()
        core.load_state_dict(*state)
    assert got + train(core, STEPS) == want
    assert_same_bits(core, whole)


def test_a_state_of_the_other_optimizer_is_refused() -> None:
    packed, plain = new_core(), new_core(optimizer="adamw")
    with pytest.raises(BenchError, match="its optimizer is adamw, not adamw8bit"):
        packed.load_state_dict(*plain.state_dict())
    with pytest.raises(BenchError, match="its optimizer is adamw8bit, not adamw"):
        plain.load_state_dict(*packed.state_dict())
    tensors, older = plain.state_dict()
    del older["optimizer"]  # as it was before there were two
    plain.load_state_dict(tensors, older)


@pytest.mark.parametrize("adapter", ["lora", "adalora"])
def test_it_trains_as_adamw_does_with_32_bits(adapter: str) -> None:
    allocator = "fixed" if adapter == "lora" else "adalora"
    schedule = RankSchedule(
        initial_budget=12, target_budget=6, initial_steps=5, final_steps=10, interval=5, total_steps=30
    )
    plain, packed = (
        new_core(schedule, optimizer=optimizer, adapter=adapter, allocator=allocator, learning_rate=1e-3)
        for optimizer in ("adamw", "adamw8bit")
    )
    (batch,), losses = data(1), []
    for _ in range(schedule.total_steps):
        for core in (plain, packed):
            core.accumulate(loss_of(core.model, batch))
        losses.append((float(plain.step().loss), float(packed.step().loss)))
    first, last = losses[0][0], losses[-1][0]
    assert last < 0.5 * first
    assert max(abs(one - other) for one, other in losses) < 0.02 * first
    assert losses[-1][0] != losses[-1][1]


def test_what_an_update_unpacks_is_what_is_planned() -> None:
    model = nn.Linear(64, 128, bias=False)
    core = Core(model, (), StepOptions(learning_rate=1e-2, weight_decay=0.1, optimizer="adamw8bit"), FIXED)
    core.accumulate(model(torch.randn(4, 64)).square().mean())
    held = [core.flat.data, core.flat.grad, *core.optimizer.state()[0].values()]
    with LiveBytes(held) as live, torch.no_grad():
        core.optimizer.step(1e-3, torch.zeros(()))
    assert live.peak == pytest.approx(WORKING_BYTES * 64 * 128, rel=0.01)
    assert live.now == 0


def test_where_it_cannot_run_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    check_optimizer("adamw8bit", torch.device("cpu"))
    check_optimizer("adamw", torch.device("mps"))
    with pytest.raises(BenchError, match="needs an 8-bit optimizer for mps"):
        check_optimizer("adamw8bit", torch.device("mps"))
    with monkeypatch.context() as patched:
        patched.setattr(cextension, "lib", cextension.ErrorHandlerMockBNBNativeLibrary("no library"))
        with pytest.raises(BenchError, match="native library, which did not load"):
            new_core()
    model = adapted(SHAPES, 4)
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(BenchError, match="needs bitsandbytes, which can't be imported") as refused:
        build_core(model, sites_of(SHAPES), cell_of(optimizer="adamw8bit"), SCHEDULE)
    assert refused.value.exit_code == 2
