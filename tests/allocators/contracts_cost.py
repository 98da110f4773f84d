"""What an allocator promises about its cost: no wait for the device in an ordinary step, and the bytes of its line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from counting import Operations, host_reads
from helpers.toy_models import loss_of
from registry_cases import HELD_OUT_LOSS, NEVER, Case, advance, data_of, demand

from bench.estimate.parameters import IMPORTANCE_BYTES


@dataclass(frozen=True)
class Cost:
    """Of one optimizer step: operations of the allocator and of all, waits for the device; and bytes per element."""

    allocator: int
    step: int
    waits: int
    bytes: float


def ordinary_steps(case: Case) -> dict[int, Cost]:
    """The cost of each step after which nothing is to be decided and no rank changes, with few decisions in all."""
    rare = replace(case, interval=NEVER)
    core, asked, found = rare.core(), rare.asked(), {}
    for step, batch in enumerate(data_of(case), 1):
        core.accumulate(loss_of(core.model, batch))
        per_element = core.allocator.bytes() / max(1, core.flat.layout.adapter_elements)
        operations = Operations()
        operations.watch(core.allocator, "after_step", "allocator")
        with operations, host_reads(operations):
            changed = core.step().masked
        del core.allocator.after_step  # the watched one
        if core.watches:
            changed = core.validated(HELD_OUT_LOSS) or changed
        if not changed and step not in asked:
            counts, waits = operations.counts, sum(operations.syncs.values())
            found[step] = Cost(counts["allocator"], sum(counts.values()), waits, per_element)
    return found


def check_no_waits(case: Case) -> None:
    """A step after which no rank changes makes the host wait for nothing that the device computes."""
    steps = ordinary_steps(case)
    demand(steps, case, "it changes ranks after every step, even where nothing is to be decided")
    for step, cost in steps.items():
        demand(not cost.waits, case, f"the host waits {cost.waits} times in step {step}, in which no rank changes")


def check_bytes(case: Case) -> None:
    """While ranks move, it keeps as many bytes per element of the adapter as its line says, and tells all of them.

    Beside them it may tell smaller tensors of its state, such as a window of singular values.
    """
    kinds = IMPORTANCE_BYTES if case.facts.averages is None else {case.importance: case.facts.averages}
    for importance, promised in kinds.items():
        core, most = replace(case, importance=importance).core(), 0.0
        for batch in data_of(case):
            told, elements = core.allocator.bytes(), core.flat.layout.adapter_elements
            sizes = [(t.numel(), t.numel() * t.element_size()) for t in core.allocator.state()[0].values()]
            long, all_of_it = sum(size for n, size in sizes if n == elements), sum(size for _, size in sizes)
            demand(long <= told, case, f"its state holds {long} bytes as long as the adapter, it tells {told}")
            demand(told <= all_of_it, case, f"it tells {told} bytes, its state holds {all_of_it}")
            most = max(most, long / max(1, elements))
            core.accumulate(loss_of(core.model, batch))
            advance(core)
        demand(most == promised, case, f"it keeps {most:g} bytes per element, its line says {promised}")


def check_line(case: Case) -> None:
    """What its line says is so: whether it watches held-out rows, and whether matrices grow apart."""
    core, watched = case.core(), False
    for batch in data_of(case):
        core.accumulate(loss_of(core.model, batch))
        core.step()
        if core.watches:
            watched = True
            core.validated(HELD_OUT_LOSS)
        ranks = core.flat.layout.ranks
        alike = case.facts.ranks != "grown" or case.facts.uneven or len(set(ranks)) == 1
        demand(alike, case, f"matrices have grown to ranks {ranks}, its line does not say `uneven`")
    says = "does not say" if watched else "says"
    demand(watched == case.facts.held_out, case, f"it watches held-out rows: {watched}; its line {says} `held_out`")


def cost_table(cases: Iterable[Case]) -> str:
    """A line per allocator and adapter: operations of an ordinary step, of the allocator and of all, waits, bytes.

    Of several such steps it is the one in which the allocator does most.
    """
    lines = [f"{'allocator':28}{'operations':>12}{'of the step':>13}{'waits':>7}{'bytes/element':>15}"]
    for case in cases:
        most = max(ordinary_steps(case).values(), key=lambda cost: cost.allocator)
        lines.append(f"{case!s:28}{most.allocator:12}{most.step:13}{most.waits:7}{most.bytes:15g}")
    return "\n".join(lines)
