"""One cut by the singular values of the updates: what torch's own decomposition of the whole matrices says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from helpers.plain_adapters import PlainAdapters
from helpers.toy_models import Branches, assert_same_bits, batches, cell_of, core_of, loss_of, width_of
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PeftModel

from bench.engine.allocators.truncated import svd_of_product
from bench.engine.schedule import RankSchedule
from bench.engine.step import Core
from bench.errors import BenchError
from bench.models.adapters import reload_adapter, save_trained
from bench.models.export import export_lora

SHAPES = [(8, 16), (16, 8), (8, 8), (12, 8), (3, 9)]  # the last one has a side below the rank
RANK, STEPS = 4, 16
SCHEDULE = RankSchedule(
    initial_budget=RANK * len(SHAPES), target_budget=9, initial_steps=3, final_steps=6, interval=2, total_steps=STEPS
)
CUT = SCHEDULE.freezes_at
DATA = [batch for batch, _ in zip(batches(0, 8, width_of(SHAPES)), range(STEPS), strict=False)]


def made(
    allocator: str = "truncated", adapter: str = "lora", schedule: RankSchedule = SCHEDULE, unit: str = "ranks"
) -> Core:
    cell = cell_of(adapter=adapter, allocator=allocator, method={"unit": unit}, gradient_clip=None, orthogonality=0.0)
    return core_of(SHAPES, RANK, schedule, cell, random=True)


def train(core: Core, until: int = STEPS, skip: tuple[int, ...] = ()) -> list[float]:
    losses = []
    for step in range(core.completed, until):
        core.accumulate(loss_of(core.model, DATA[step], skip=skip))
        losses.append(float(core.step().loss))
    return losses


def products(core: Core) -> list[torch.Tensor]:
    return [(b * e[0].t() if e else b).double() @ a.double() for a, b, *e in core.flat.factors(core.flat.data)]


def ranks_by_one_threshold(matrices: list[torch.Tensor], costs: list[int], budget: int) -> list[int]:
    """How many singular values of each matrix [out, in] stay: those with the most value per cost, while they fit."""
    entries = [
        (value / costs[site], site)
        for site, matrix in enumerate(matrices)
        for value in torch.linalg.svdvals(matrix)[:RANK].tolist()
    ]
    ranks = [0] * len(matrices)
    for _, site in sorted(entries, reverse=True):
        if costs[site] <= budget:
            ranks[site] += 1
            budget -= costs[site]
    return ranks


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 8), st.integers(0, 10**6))
def test_the_decomposition_is_that_of_the_whole_product(out: int, width: int, rank: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    b, a = torch.randn(out, rank, generator=generator), torch.randn(rank, width, generator=generator)
    u, s, v = svd_of_product(b, a)
    whole = b.double() @ a.double()
    torch.testing.assert_close((u * s) @ v, whole.float(), rtol=1e-5, atol=1e-5)
    want = torch.zeros(rank, dtype=torch.float64)
    found = min(rank, out, width)
    want[:found] = torch.linalg.svdvals(whole)[:found]
    torch.testing.assert_close(s, want.float(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(u[:, :found].t() @ u[:, :found], torch.eye(found), rtol=0, atol=1e-5)
    torch.testing.assert_close(v[:found] @ v[:found].t(), torch.eye(found), rtol=0, atol=1e-5)
    assert not u[:, found:].any()
    assert not v[found:].any()


@pytest.mark.parametrize("unit", ["ranks", "parameters"])
@pytest.mark.parametrize("adapter", ["lora", "adalora"])
def test_the_cut_leaves_the_best_approximations_under_one_threshold(adapter: str, unit: str) -> None:
    costs = [i + o + (adapter == "adalora") if unit == "parameters" else 1 for i, o in SHAPES]
    budget = 9 if unit == "ranks" else 190
    schedule = RankSchedule(
        initial_budget=RANK * sum(costs), target_budget=budget, initial_steps=3, final_steps=6, total_steps=STEPS
    )
    core, uncut = made("truncated", adapter, schedule, unit), made("fixed", adapter, schedule)
    assert train(core, CUT) == train(uncut, CUT)  # up to the cut it is plain training at the initial rank
    before = products(uncut)
    ranks = ranks_by_one_threshold(before, costs, budget)
    assert core.flat.layout.ranks == tuple(ranks) == tuple(core.live_ranks().values())
    assert len(set(ranks)) > 1
    assert core.budget_mask() is None
    for rank, full, cut, (a, b, *e) in zip(
        ranks, before, products(core), core.flat.factors(core.flat.data), strict=True
    ):
        u, s, v = torch.linalg.svd(full, full_matrices=False)
        torch.testing.assert_close(cut, (u[:, :rank] * s[:rank]) @ v[:rank], rtol=1e-4, atol=1e-6)
        weight = torch.ones(rank) if e else s[:rank].float()  # both factors have the same share of S
        torch.testing.assert_close(a @ a.t(), torch.diag(weight), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(b.t() @ b, torch.diag(weight), rtol=1e-4, atol=1e-5)
        if e:
            torch.testing.assert_close(e[0].flatten(), s[:rank].float(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("adapter", ["lora", "adalora"])
def test_step_by_step_it_is_what_plain_torch_does(adapter: str) -> None:
    core = made(adapter=adapter)
    plain = PlainAdapters(core, [core.learning_rate(step) for step in range(STEPS)])
    for step, batch in enumerate(DATA):
        assert train(core, step + 1)[0] == pytest.approx(plain.step(batch), rel=2e-4)
        if step + 1 == CUT:
            whole = [plain.product(site).detach().double() for site in range(len(SHAPES))]
            ranks = ranks_by_one_threshold(whole, [1] * len(SHAPES), SCHEDULE.target_budget)
            parts = [torch.linalg.svd(matrix, full_matrices=False) for matrix in whole]
            cut = [(u[:, :r].float(), s[:r].float(), v[:r].float()) for (u, s, v), r in zip(parts, ranks, strict=True)]
            roots = [torch.ones_like(s) if plain.e else s.sqrt() for _, s, _ in cut]
            plain.a = plain.replace(plain.a, [r[:, None] * v for (_, _, v), r in zip(cut, roots, strict=True)])
            plain.b = plain.replace(plain.b, [u * r for (u, _, _), r in zip(cut, roots, strict=True)])
            plain.e = plain.replace(plain.e, [s for _, s, _ in cut] if plain.e else [])
    for site, product in enumerate(products(core)):
        torch.testing.assert_close(product.float(), plain.product(site).detach(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("allocator", ["truncated", "truncated_end"])
@pytest.mark.parametrize("adapter", ["lora", "adalora"])
def test_a_budget_of_all_ranks_is_plain_training_bit_for_bit(allocator: str, adapter: str) -> None:
    whole = RankSchedule(initial_budget=20, target_budget=20, final_steps=6, total_steps=STEPS)
    core, lora = made(allocator, adapter, whole), made("fixed", adapter, whole)
    assert train(core) == train(lora)
    assert torch.equal(core.flat.data, lora.flat.data)
    assert core.flat.layout == lora.flat.layout


def test_the_late_cut_comes_after_the_last_step() -> None:
    core, lora = made("truncated_end"), made("fixed")
    assert train(core) == train(lora)
    assert sum(core.live_ranks().values()) == SCHEDULE.target_budget
    assert core.flat.layout.ranks == tuple(ranks_by_one_threshold(products(lora), [1] * 5, SCHEDULE.target_budget))


def test_all_ranks_live_and_train_until_the_cut_and_start_anew_after_it() -> None:
    core = made()
    train(core, CUT - 1)
    assert core.budget_mask() is None
    assert sum(core.live_ranks().values()) == SCHEDULE.initial_budget
    with core.budget_view():  # an evaluation sees all of them
        assert all(site.rank == RANK for site in core.flat.sites)
    core.accumulate(loss_of(core.model, DATA[CUT - 1]))
    assert core.step().masked
    adapter = slice(0, core.flat.layout.adapter_elements)
    assert not core.optimizer.moment[adapter].any()
    assert not core.optimizer.square[adapter].any()
    assert core.optimizer.moment[adapter.stop :].any()  # the heads keep theirs
    old, rate = core.flat.data.clone(), core.learning_rate(core.completed)
    train(core, CUT + 1)
    moved = (core.flat.data - old)[adapter].abs()
    torch.testing.assert_close(moved, torch.full_like(moved, rate), rtol=0.05, atol=1e-6)  # Adam's first step


@pytest.mark.parametrize("stops", [(2,), (CUT - 1,), (CUT,), (CUT + 2,), (4, CUT, CUT + 1, STEPS - 1)], ids=str)
@pytest.mark.parametrize(("allocator", "adapter"), [("truncated", "lora"), ("truncated_end", "adalora")])
def test_an_interrupted_training_goes_on_bit_for_bit(
    tmp_path: Path, allocator: str, adapter: str, stops: tuple[int, ...]
) -> None:
    whole, core = made(allocator, adapter), made(allocator, adapter)
    want, got = train(whole), []
    for stop in stops:
        got += train(core, stop)
        tensors, plain = core.state_dict()
        safetensors.torch.save_file(tensors, tmp_path / "state")
        core = made(allocator, adapter)
        core.flat.data.normal_()
        core.load_state_dict(safetensors.torch.load_file(tmp_path / "state"), json.loads(json.dumps(plain)))
    assert got + train(core) == want
    assert_same_bits(core, whole)
    assert core.masks() == whole.masks()


@pytest.mark.parametrize("adapter", ["lora", "adalora"])
def test_matrices_without_ranks_are_saved_and_loaded_by_plain_peft(tmp_path: Path, adapter: str) -> None:
    core = core_of(SHAPES, RANK, SCHEDULE, made(adapter=adapter).cell)
    train(core, skip=(1, 3))  # their B (or E) stays zero, and so do their singular values
    assert [rank > 0 for rank in core.flat.layout.ranks] == [True, False, True, False, True]
    core.model.eval()
    want = core.model(DATA[0][0]).detach()
    save_trained(core.model, core.cell.method, tmp_path, core.masks())
    torch.manual_seed(0)
    loaded = PeftModel.from_pretrained(Branches(SHAPES), tmp_path)
    loaded.eval()
    torch.testing.assert_close(loaded(DATA[0][0]), want, rtol=1e-5, atol=1e-6)
    if adapter == "adalora":
        export_lora(tmp_path, tmp_path / "lora")
        torch.manual_seed(0)
        exported = PeftModel.from_pretrained(Branches(SHAPES), tmp_path / "lora")
        torch.testing.assert_close(exported(DATA[0][0]), want, rtol=1e-5, atol=1e-6)
    ranks = [rank for rank in core.flat.layout.ranks if rank]
    layers = [layer for layer in loaded.get_base_model().layers if hasattr(layer, "lora_A")]
    held = [getattr(layer.lora_A["default"], "weight", layer.lora_A["default"]) for layer in layers]
    assert [len(a) for a in held if len(a)] == ranks
    assert len(layers) == (len(ranks) if adapter == "lora" else len(SHAPES))
    again = reload_adapter(core.model, tmp_path)  # as a cell does; it checks that the file has what the config names
    again.eval()
    torch.testing.assert_close(again(DATA[0][0]), want, rtol=1e-5, atol=1e-6)


def test_lora_without_any_rank_is_refused(tmp_path: Path) -> None:
    core = made()
    nothing = {name: [False] * RANK for name in core.masks()}
    with pytest.raises(BenchError, match="no rank is left in any matrix"):
        save_trained(core.model, core.cell.method, tmp_path, nothing)
