"""What holds of an allocator in two processes: both decide alike, and as one that has all the rows."""

from __future__ import annotations

import os
import traceback
from collections.abc import Sequence
from typing import Any

import torch
from helpers.small_cells import SERVER, torchrun_variables
from helpers.toy_models import loss_of
from registry_cases import Added, Case, advance, data_of, demand, train, updates_of

from bench.distributed import init_process_group

ROWS = 8  # of an optimizer step; each process has half of them
TIMEOUT = 120  # seconds

# Masks after each step; at the end the parameters, and what the adapter adds to the matrices.
Outcome = tuple[list[Any], torch.Tensor, torch.Tensor]


def check_processes(cases: Sequence[Case], added: Sequence[Added] = ()) -> None:
    """Two processes of torch.distributed with half of the rows each take the decisions of one with all of them.

    Their parameters are equal bit for bit, and their updates those of the one process up to float32's rounding. One
    pair of processes serves all `cases`. added: what is registered beside the lines of the registry.
    """
    members = _in_processes(cases, added)
    for index, case in enumerate(cases):
        (masks, data, updates), (other_masks, other_data, _) = (outcomes[index] for outcomes in members)
        demand(masks == other_masks, case, f"two processes decide apart after step {_first(masks, other_masks)}")
        same = torch.equal(data, other_data)
        demand(same, case, "two processes end with other parameters, though they have decided alike")
        alone = case.core()
        want = train(alone, data_of(case, rows=ROWS)).masks
        demand(masks == want, case, f"two processes decide otherwise than one after step {_first(masks, want)}")
        same = torch.allclose(updates, updates_of(alone), rtol=1e-3, atol=1e-4)
        demand(same, case, "two processes end with other updates than one")


def _in_processes(cases: Sequence[Case], added: Sequence[Added]) -> list[list[Outcome]]:
    """What each of two processes found of each case."""
    pipes = [SERVER.Pipe(duplex=False) for _ in range(2)]
    processes = [
        SERVER.Process(target=_member, args=(rank, variables, cases, added, sender))
        for (rank, variables), (_, sender) in zip(enumerate(torchrun_variables(2)), pipes, strict=True)
    ]
    for process in processes:
        process.start()
    for _, sender in pipes:
        sender.close()  # the process's own is then the last: its end is noticed at once
    try:
        found = [_received(receiver) for receiver, _ in pipes]
    finally:
        for process in processes:
            process.kill()
            process.join()
    for outcome in found:
        if isinstance(outcome, str):
            raise AssertionError(f"a process of two ended with: {outcome}")
    return [[(masks, *map(torch.from_numpy, arrays)) for masks, *arrays in outcomes] for outcomes in found]


def _received(receiver: Any) -> list[Any] | str:
    try:
        return receiver.recv() if receiver.poll(TIMEOUT) else f"no answer in {TIMEOUT} seconds"
    except EOFError:
        return "no answer: it was killed"


def _member(rank: int, variables: dict[str, str], cases: Sequence[Case], added: Sequence[Added], sender: Any) -> None:
    """One of two processes: train every case on its half of the rows."""
    try:
        torch.set_num_threads(1)
        os.environ.update(variables)
        for line in added:
            line.install()
        group, half, found = init_process_group(), slice(rank * ROWS // 2, (rank + 1) * ROWS // 2), []
        for case in cases:
            core, masks = case.core(group, micro_batches=2), []
            for x, y in data_of(case, rows=ROWS):
                core.accumulate(loss_of(core.model, (x[half], y[half])))
                advance(core)
                masks.append(core.masks())
                both = group.all_gather_object(masks[-1])
                if both[0] != both[1]:
                    break  # sums over processes whose ranks differ would end both
            found.append((masks, core.flat.data.numpy(), updates_of(core).numpy()))
        sender.send(found)
    except BaseException:
        sender.send(traceback.format_exc())


def _first(one: list[Any], other: list[Any]) -> int:
    """The first step, counted from 1, at which masks differ; 0 if there is none."""
    return next((step for step, pair in enumerate(zip(one, other, strict=False), 1) if pair[0] != pair[1]), 0)
