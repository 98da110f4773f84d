"""What an allocator promises about trainings that should be equal: repeated, interrupted, accumulated, or skipped."""

from __future__ import annotations

import io
import json
import math
import random
from typing import Any

import numpy as np
import torch
from helpers.toy_models import loss_of
from registry_cases import STEPS, Case, Run, advance, data_of, demand, train, updates_of


def check_equal_decisions(case: Case) -> None:
    """Two trainings of one seed take the same decisions and end with the same bits.

    The generators that a program shares stand elsewhere each time: chance comes from `AllocatorOptions.seed`.
    """
    runs = []
    for seed in (1, 2):
        core = case.core()
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        runs.append((train(core, data_of(case)), core))
    (one, first), (other, second) = runs
    step = _first_difference(one, other)
    demand(step is None, case, f"two equal trainings decide apart after step {step}")
    demand(torch.equal(first.flat.data, second.flat.data), case, "two equal trainings end with other parameters")
    demand(first.allocator.growths() == second.allocator.growths(), case, "two equal trainings tell other growths")


def check_resume(case: Case) -> None:
    """Interrupted before the first decision, between decisions and after the last one, it goes on bit for bit.

    The state goes through the formats of a checkpoint, into a new core or into one that has trained on something else.
    """
    data, whole, interrupted = data_of(case), case.core(), case.core()
    want = train(whole, data)
    for number, (when, stop) in enumerate(_moments(want).items()):
        train(interrupted, data, stop)
        resumed = case.core()
        if number % 2:
            train(resumed, data[::-1])
        resumed.load_state_dict(*_through_files(case, interrupted))
        got, place = train(resumed, data), f"interrupted after step {stop} ({when})"
        step = _first_difference(Run(want.masks[stop:], [], want.losses[stop:]), got)
        demand(step is None, case, f"{place} it goes on differently at step {stop + (step or 0)}")
        for name, tensor in whole.state_dict()[0].items():
            same = torch.equal(tensor, resumed.state_dict()[0].get(name, torch.empty(0)))
            demand(same, case, f"{place} it ends with another {name}")
        demand(whole.state_dict()[1] == resumed.state_dict()[1], case, f"{place} it ends in another state")


def check_accumulation(case: Case) -> None:
    """Four micro-batches are one batch of four times the rows: the same decisions, and updates up to rounding."""
    whole, parts = case.core(), case.core(micro_batches=4)
    for x, y in data_of(case, rows=16):
        whole.accumulate(loss_of(whole.model, (x, y)))
        for rows in range(0, 16, 4):
            parts.accumulate(loss_of(parts.model, (x[rows : rows + 4], y[rows : rows + 4])))
        advance(whole)
        advance(parts)
        same = whole.masks() == parts.masks()
        demand(same, case, f"after step {whole.completed} micro-batches decide otherwise than the whole batch")
    same = torch.allclose(updates_of(whole), updates_of(parts), rtol=1e-3, atol=1e-4)
    demand(same, case, "micro-batches end with other updates than whole batches")


def check_skipped_step(case: Case) -> None:
    """A step whose gradient is not finite changes no parameter, no rank and no state, apart from counts of steps.

    A window of steps may get a place for it, in which nothing of the gradient may stand.
    """
    data, run = data_of(case), train(case.core(), data_of(case))
    for step in _quiet_steps(case, run):
        core, trouble = case.core(), math.inf if step % 2 else math.nan
        train(core, data, step - 1)
        (before, plain_before), kept = _copied(core), core.flat.layout.kept
        changed = _skip(core, data[step - 1], trouble)
        (after, plain), place = _copied(core), f"step {step} is skipped, for a loss of {trouble}"
        demand(not changed and core.flat.layout.kept == kept, case, f"{place}, and changes ranks")
        same = _without_counts(plain, plain_before)
        demand(same, case, f"{place}, and changes its state from {plain_before} to {plain}")
        windows = []
        for name in sorted(before.keys() | after.keys()):
            old, new = before.get(name), after.get(name, torch.empty(0))
            windows += [name] if _one_place_more(old, new) else []
            same = old is not None and torch.equal(new, old)
            demand(same or name in windows, case, f"{place}, and changes {name}")
        if windows:  # what stands there must be the same for any other gradient
            twin = case.core()
            train(twin, data, step - 1)
            _skip(twin, data[0], math.nan if step % 2 else math.inf)
            same = all(torch.equal(_copied(twin)[0][name], after[name]) for name in windows)
            demand(same, case, f"{place}, and something of its gradient stands in {windows}")


def _moments(run: Run) -> dict[str, int]:
    """A step before the first decision, one between decisions, the last decision, and a step after it."""
    if not run.changed:
        return {"at the start": 1, "in the middle": STEPS // 2, "near the end": STEPS - 2}
    first, last = run.changed[0], run.changed[-1]
    middle = run.changed[len(run.changed) // 2]
    moments = {
        "before the first decision": max(1, first - 1),
        "between decisions": middle,
        "one step after a decision": middle + 1,
        "at the last decision": last,
        "after the freeze": last + 2,
    }
    return dict(sorted(((when, step) for when, step in moments.items() if step < STEPS), key=lambda pair: pair[1]))


def _quiet_steps(case: Case, run: Run) -> list[int]:
    """Steps after which the allocator decides nothing: one before, one between and one after its decisions."""
    quiet = [step for step in range(2, STEPS + 1) if step not in case.asked() | set(run.changed)]
    first, last = (run.changed[0], run.changed[-1]) if run.changed else (STEPS // 2, STEPS // 2)
    parts = ([s for s in quiet if s < first], [s for s in quiet if first < s < last], [s for s in quiet if s > last])
    return [part[len(part) // 2] for part in parts if part]


def _through_files(case: Case, core: Any) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The state of `core`, written and read as a checkpoint is."""
    tensors, plain = core.state_dict()
    try:
        again = json.loads(json.dumps(plain, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise AssertionError(f"{case}: its plain state is no JSON: {error}") from error
    file = io.BytesIO()
    torch.save(tensors, file)
    file.seek(0)
    return torch.load(file, weights_only=True), again


def _one_place_more(old: torch.Tensor | None, new: torch.Tensor) -> bool:
    """Whether `new` [steps + 1, n] is `old` [steps, n] and a row; a window of no step may be missing in a state."""
    if old is None:
        return new.ndim == 2 and len(new) == 1
    return old.ndim == new.ndim == 2 and len(new) == len(old) + 1 and torch.equal(new[:-1], old)


def _skip(core: Any, batch: Any, trouble: float) -> bool:
    """A step whose loss is `trouble`. Returns whether ranks changed."""
    core.accumulate(trouble * loss_of(core.model, batch))
    return advance(core)


def _copied(core: Any) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors of the parameters, the optimizer and the allocator, and the allocator's plain state."""
    tensors, plain = core.state_dict()
    del tensors["skipped"]  # the core's count
    return tensors, json.loads(json.dumps(plain["allocator"]))


def _without_counts(one: Any, other: Any) -> bool:
    """Whether two plain states are equal, where a whole number may be one more or less: it counts steps."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_without_counts(one[key], other[key]) for key in one)
    if type(one) is int and type(other) is int:
        return abs(one - other) <= 1
    return bool(one == other)


def _first_difference(one: Run, other: Run) -> int | None:
    """The first step, counted from 1, at which masks or losses differ."""
    pairs = zip(one.masks, other.masks, one.losses, other.losses, strict=True)
    for step, (mask, other_mask, loss, other_loss) in enumerate(pairs, 1):
        if mask != other_mask or loss != other_loss:
            return step
    return None
