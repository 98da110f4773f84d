"""Signal over noise prunes as an independent computation from torch's own AdamW does, and survives interruptions."""

from __future__ import annotations

import json

import pytest
import torch
from helpers.toy_models import PeftLoop, adapted, assert_same_bits, batches, cell_of, core_of, loss_of, twin

from bench.engine.allocators.base import StepFacts
from bench.engine.allocators.snr import SignalToNoise
from bench.engine.schedule import RankSchedule
from bench.engine.step import Core
from bench.errors import BenchError

SHAPES = [(8, 16), (16, 8), (8, 8), (12, 8)]
STEPS = 18
SCHEDULE = RankSchedule(
    initial_budget=16, target_budget=5, initial_steps=4, final_steps=6, interval=3, total_steps=STEPS
)  # freezes at 12


def new_core(**method: object) -> Core:
    return core_of(SHAPES, 4, SCHEDULE, cell_of(allocator="snr", method=method))


def data() -> list:
    return [batch for batch, _ in zip(batches(0, 8, 16), range(STEPS), strict=False)]


def train(core: Core, until: int) -> None:
    for batch in data()[core.completed : until]:
        core.accumulate(loss_of(core.model, batch))
        core.step()


def scores_of(peft: PeftLoop) -> dict[tuple[str, int], float]:
    """|p| sqrt(v) over each rank: E, plus the mean over the row of A, plus the mean over the column of B."""
    scores = {}
    for site in peft.core.flat.layout.sites:
        a, b, e = (p.detach().abs() * peft.optimizer.state[p]["exp_avg_sq"].sqrt() for p in peft.factors(site))
        for rank in range(len(e)):
            scores[site.name, rank] = float(e[rank, 0] + a[rank].mean() + b[:, rank].mean())
    return scores


def test_every_mask_is_that_of_an_independent_computation() -> None:
    model = adapted(SHAPES, 4, SCHEDULE)
    core = new_core(compact=False)
    peft = PeftLoop(twin(model), core)
    kept: dict[str, list[bool]] = {}
    seen = []
    for step, batch in enumerate(data(), start=1):
        core.accumulate(loss_of(core.model, batch))
        changed = core.step().masked
        peft.step(batch, allocate=False)
        if step in (6, 9, 12):  # multiples of 3 between 4 and the freeze
            assert changed
            best = sorted(scores_of(peft).items(), key=lambda item: -item[1])[: SCHEDULE.budget(step)]
            chosen = {place for place, _ in best}
            kept = {s.name: [(s.name, rank) in chosen for rank in range(4)] for s in core.flat.layout.sites}
        if step in (6, 9) or step >= 12:
            for site in core.flat.layout.sites:
                peft.factors(site)[2].data.mul_(torch.tensor(kept[site.name])[:, None])
            assert core.masks() == kept
            seen.append(sum(map(sum, kept.values())))
        for site, ours in zip(core.flat.layout.sites, core.flat.factors(core.flat.data), strict=True):
            for one, other in zip(ours, peft.factors(site), strict=True):
                torch.testing.assert_close(one, other.detach(), rtol=1e-3, atol=1e-5)
    assert seen[:3] == [9, 5, 5]
    adalora = core_of(SHAPES, 4, SCHEDULE, cell_of())
    train(adalora, STEPS)
    assert adalora.masks() != core.masks()  # the scores do decide


def test_the_score_of_a_rank_by_hand() -> None:
    core = core_of([(2, 2)], 1, RankSchedule(initial_budget=1, target_budget=1, total_steps=1))
    # Rows of one length: A, then B^T, then E.
    core.flat.data[:5] = torch.tensor([1.0, -2.0, 3.0, 4.0, -5.0])
    square = torch.tensor([4.0, 9.0, 1.0, 0.0, 0.25] + [7.0] * (core.flat.elements - 5))
    score = SignalToNoise(core.flat)
    one = torch.ones(())
    score.update(StepFacts(one, None, one, moments=(torch.zeros_like(square), square)), final=False)
    assert score.of_triplets().tolist() == [5 * 0.5 + (1 * 2 + 2 * 3) / 2 + (3 * 1 + 4 * 0) / 2]
    assert score.bytes() == 0


def test_without_adams_averages_there_is_no_score() -> None:
    core = new_core()
    one = torch.ones(())
    with pytest.raises(BenchError, match="averages of Adam"):
        core.allocator.after_step(1, StepFacts(one, None, one))


@pytest.mark.parametrize("stops", [(2,), (6,), (8,), (11,), (12,), (14,), (3, 7, 13)], ids=str)
@pytest.mark.parametrize("method", [{}, {"unit": "parameters"}, {"compact": False}], ids=str)
def test_an_interrupted_training_goes_on_bit_for_bit(stops: tuple[int, ...], method: dict[str, object]) -> None:
    whole, core = new_core(**method), new_core(**method)
    for stop in stops:
        train(core, stop)
        train(whole, stop)
        tensors, plain = core.state_dict()
        core = new_core(**method)
        core.flat.data.normal_()
        core.load_state_dict(tensors, json.loads(json.dumps(plain)))
        assert core.masks() == whole.masks()  # what an evaluation right after the start sees
    train(core, STEPS)
    train(whole, STEPS)
    assert_same_bits(core, whole)


def test_a_skipped_step_changes_no_score() -> None:
    core = new_core()
    train(core, 7)
    before = core.allocator.state()[0]["scores"].clone()
    core.accumulate(loss_of(core.model, data()[7]) * float("nan"))
    assert core.step().skipped == 1
    assert torch.equal(core.allocator.state()[0]["scores"], before)
    assert before.min() > 0


def test_micro_batches_choose_as_one_batch_does() -> None:
    whole, parts = new_core(), new_core()
    for x, y in data():
        whole.accumulate(loss_of(whole.model, (x, y)))
        for part in (slice(0, 4), slice(4, 8)):
            parts.accumulate(loss_of(parts.model, (x[part], y[part])), share=0.5)
        whole.step()
        parts.step()
        assert whole.masks() == parts.masks()
