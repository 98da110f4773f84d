"""Each check of `bench selfcheck` passes on the CPU, and fails when what it checks is broken on purpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_context
from typing import Any

import pytest
import torch
from torch.nn import functional

from bench.engine.adamw8bit import AdamW8bit
from bench.engine.step import Core
from bench.estimate import parameters
from bench.estimate.memory import predict_peak
from bench.evaluation import generation
from bench.models import core as model_core
from bench.selfcheck import machine, sizes, specimens, steps
from bench.selfcheck.check import Finding, Place
from bench.selfcheck.machine import device_works
from bench.selfcheck.moments import moments_of_bitsandbytes
from bench.selfcheck.ranks import ranks_of_peft
from bench.selfcheck.sizes import peaks_as_predicted, speed
from bench.selfcheck.steps import float32_is_float32, no_waits, same_bits
from bench.selfcheck.storages import bytes_as_counted, storages_load
from bench.selfcheck.texts import texts_of_generate

Patch = pytest.MonkeyPatch
Break = Callable[[Patch], None]


def seeds_forgotten(patch: Patch) -> None:
    """Dropout draws on where the last step ended."""
    patch.setattr(specimens, "seed_everything", lambda _: None)


def products_rounded(patch: Patch) -> None:
    """As TF32 does: factors with 10 bits behind the point."""
    linear = functional.linear

    def rounded(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        if x.dtype == torch.float32:
            x = x + (x.detach().bfloat16().float() - x.detach())
        return linear(x, weight, bias)

    patch.setattr(functional, "linear", rounded)


def other_importance(patch: Patch) -> None:
    """Ranks are chosen by the size of the weights alone."""
    options = model_core.allocator_options
    patch.setattr(model_core, "allocator_options", lambda *words: replace(options(*words), importance="magnitude"))


def steps_not_counted(patch: Patch) -> None:
    """The bias of the moments is corrected as in the first step, again and again."""
    factors = AdamW8bit._factors

    def of_the_first(optimizer: AdamW8bit, *words: Any) -> Any:
        optimizer.clock.zero_()
        return factors(optimizer, *words)

    patch.setattr(AdamW8bit, "_factors", of_the_first)


def step_that_waits(patch: Patch) -> None:
    step = Core.step

    def waiting(core: Core) -> Any:
        report = step(core)
        float(report.loss)
        return report

    patch.setattr(Core, "step", waiting)


def half_of_the_peak(patch: Patch) -> None:
    """The prediction forgets half of what is kept for backward."""

    def forgetful(*words: Any) -> Any:
        whole = predict_peak(*words)
        return replace(whole, activations=whole.activations // 2)

    patch.setattr(sizes, "predict_peak", forgetful)


def clock_that_does_not_wait(patch: Patch) -> None:
    patch.setattr(sizes, "_seconds_per_step", lambda *_: 1e-6)


def beams_that_see_nothing(patch: Patch) -> None:
    attend = generation._attend

    def blind(module: Any, query: Any, key: Any, value: Any, mask: Any, **options: Any) -> Any:
        shared = key.shape[0] != query.shape[0]
        return attend(module, query, key, torch.zeros_like(value) if shared else value, mask, **options)

    patch.setattr(generation, "_attend", blind)


def blocks_without_their_mean(patch: Patch) -> None:
    """The constant of each block of an nf4 base is unpacked without the mean of all, which is most of it."""
    load = specimens.load_backbone

    def loaded(*words: Any) -> Any:
        model = load(*words)
        for module in model.modules():
            state = getattr(getattr(module, "weight", None), "quant_state", None)
            if state is not None:
                state.offset = torch.zeros_like(state.offset)
        return model

    patch.setattr(specimens, "load_backbone", loaded)


def blocks_of_half_the_size(patch: Patch) -> None:
    patch.setattr(parameters, "BLOCK", 32)


def sum_that_is_wrong(patch: Patch) -> None:
    multiply = torch.Tensor.__matmul__
    patch.setattr(torch.Tensor, "__matmul__", lambda a, b: multiply(a, b) + 1)


CASES: dict[Callable[[Place], Finding], Break] = {
    device_works: sum_that_is_wrong,
    storages_load: blocks_without_their_mean,
    bytes_as_counted: blocks_of_half_the_size,
    same_bits: seeds_forgotten,
    float32_is_float32: products_rounded,
    ranks_of_peft: other_importance,
    moments_of_bitsandbytes: steps_not_counted,
    no_waits: step_that_waits,
    speed: clock_that_does_not_wait,
    texts_of_generate: beams_that_see_nothing,
}


@pytest.mark.parametrize("check", CASES, ids=lambda check: check.__name__)
def test_a_check_fails_when_what_it_checks_is_broken(
    place: Place, monkeypatch: pytest.MonkeyPatch, check: Callable[[Place], Finding]
) -> None:
    found = check(place)
    assert found.result == "pass", found
    with monkeypatch.context() as patch:
        CASES[check](patch)
        assert check(place).result == "fail"


@pytest.mark.long
def test_the_peak(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its processes are forked here, so that they are broken too; they can't be so well measured then."""
    assert peaks_as_predicted(place).result == "pass"
    monkeypatch.setattr(sizes, "get_context", lambda _: get_context("fork"))
    half_of_the_peak(monkeypatch)
    assert peaks_as_predicted(place).result == "fail"


def test_another_device_than_was_asked_for(place: Place) -> None:
    found = device_works(replace(place, device="cuda"))
    assert (found.result, found.found) == ("fail", "PyTorch works on the cpu here, not on cuda")
    assert machine.device_works is device_works


def test_what_a_gpu_waits_for_is_told_with_its_place(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mode in which PyTorch tells it is a stand-in: what is warned of inside is counted."""
    import warnings

    modes: list[str] = []
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    with steps._counted(replace(place, device="cuda")) as waits:
        warnings.warn("called a synchronizing CUDA operation", stacklevel=1)
        warnings.warn("something else", stacklevel=1)
    assert modes == ["warn", "default"]
    assert [wait.split(":")[0] for wait in waits] == [__file__]
