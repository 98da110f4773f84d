"""From one line of the registry of allocators to training cores: all that the contracts need to run an allocator.

Schedule, largest rank and options are those of a cell, by the functions that make them for a study. An allocator is
given what its motion needs (a budget below the first ranks, the block `growth`, a pattern of ranks); where its method
needs another block, that of a method file that ships. Whatever else it can be told must have a default.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from helpers.toy_models import adapted, batches, cell_of, loss_of, sites_of, width_of
from pydantic import ValidationError
from torch import Tensor

import bench.engine.allocators
from bench.config.catalog import WORKFLOW, load_catalog
from bench.config.cell import Cell
from bench.config.method import Method
from bench.config.rank_rules import Growth, Pattern
from bench.config.rank_schedule import largest_rank, schedule_of
from bench.config.recipe import RankPhases
from bench.distributed import SINGLE_PROCESS, ProcessGroup
from bench.engine.allocators.moves import even_steps
from bench.engine.allocators.names import ALLOCATORS, AllocatorFacts
from bench.engine.options import AllocatorOptions, BudgetUnit, ImportanceKind, OptimizerName
from bench.engine.schedule import RankSchedule
from bench.engine.step import Core
from bench.models.core import allocator_options, step_options

SHIPPED = frozenset(ALLOCATORS)  # those that a method file may name; tests register others
SHAPES = ((8, 16), (16, 8), (8, 8), (12, 8))
STEPS = 16  # ranks are pruned after step 3 and frozen at step 11; they may grow until step 12
AVERAGE_RANKS = {"fixed": 2, "grown": 3.25}  # of the budget; a cap that is no multiple of the matrices where it may be
ALPHA = 8.0
HELD_OUT_LOSS = 0.5  # at every check: it stands still, so that a plateau fires
NEVER = 100  # an interval that leaves no decision between the start and the freeze
RECIPE = {
    "max_steps": STEPS,
    "holdout_rows": 1,
    "alpha": ALPHA,
    "adam_epsilon": 1e-3,  # at 1e-8 a gradient that is rounding noise moves its parameter by the whole rate
}


@dataclass(frozen=True)
class Case:
    """One allocator on one adapter, and how its cores are made.

    unit: what budgets count. packed: the base is stored in 4 bits. compact: pruned ranks leave the parameters at the
    freeze. interval: optimizer steps between two decisions. optimizer: its name in a recipe.
    """

    name: str
    adapter: str
    unit: BudgetUnit = "ranks"
    packed: bool = False
    compact: bool = True
    interval: int = 2
    importance: ImportanceKind = "sensitivity-uncertainty"
    shapes: tuple[tuple[int, int], ...] = SHAPES
    optimizer: OptimizerName = "adamw"

    def __str__(self) -> str:
        extras = [self.unit] * (self.unit != "ranks") + ["nf4"] * self.packed + ["not compacted"] * (not self.compact)
        extras += [self.optimizer] * (self.optimizer != "adamw")
        return " ".join([self.name, "on", self.adapter, *(f"({extra})" for extra in extras)])

    @property
    def facts(self) -> AllocatorFacts:
        return ALLOCATORS[self.name]

    @property
    def svd(self) -> bool:
        return self.adapter == "adalora"

    @property
    def cell(self) -> Cell:
        phases = RankPhases(initial_steps=3, final_steps=5, interval=self.interval)
        rank = AVERAGE_RANKS.get(self.facts.ranks, 1.75)
        cell = cell_of(
            adapter=self.adapter,
            allocator="fixed",
            rank=rank,
            initial_rank=4,
            rank_schedule=phases,
            optimizer=self.optimizer,
            **RECIPE,
        )
        told = {"unit": self.unit, "compact": self.compact, "importance": self.importance}
        method = method_of(self.name, self.adapter, checks=2 * STEPS // 5 if self.interval < STEPS else 1, **told)
        return cell.model_copy(update={"method": method})

    @property
    def largest(self) -> int:
        """The rank that the layers are made for."""
        return largest_rank(self.cell, self.shapes)

    @property
    def schedule(self) -> RankSchedule:
        return schedule_of(self.cell, 2000, self.shapes)

    @property
    def costs(self) -> list[int]:
        """What a rank of each matrix costs in the unit of the budget."""
        return [i + o + self.svd if self.unit == "parameters" else 1 for i, o in self.shapes]

    def used(self, ranks: Sequence[int]) -> int:
        """What these ranks of the matrices cost together."""
        return sum(rank * cost for rank, cost in zip(ranks, self.costs, strict=True))

    def asked(self) -> set[int]:
        """The steps after which the schedule or the block `growth` or `gates` asks for a decision."""
        schedule, growth, gates = self.schedule, self.cell.method.growth, self.cell.method.gates
        moves = even_steps(schedule, gates.times) if gates else set()
        masks = {step for step in range(1, STEPS + 1) if schedule.is_mask_step(step)}
        return masks | moves | set(growth.check_steps(STEPS) if growth else ())

    def core(self, process_group: ProcessGroup = SINGLE_PROCESS, **changes: Any) -> Core:
        """A new training core; its model is its attribute `model`. changes: of `StepOptions`."""
        cell, schedule = self.cell, self.schedule
        model = adapted(self.shapes, self.largest, svd=self.svd, alpha=ALPHA, packed=self.packed)
        core = Core(
            model,
            sites_of(self.shapes),
            replace(step_options(cell, STEPS), **changes),
            schedule,
            told(cell, schedule, self.costs, self.largest),
            process_group=process_group,
        )
        core.model = model  # type: ignore[attr-defined]
        return core


def told(cell: Cell, schedule: RankSchedule, costs: Sequence[int], largest: int) -> AllocatorOptions:
    """What the allocator of `cell` is told, for matrices whose ranks cost `costs` and reach `largest`."""
    options = allocator_options(cell, schedule.total_steps)
    given = cell.method.moves.ranks == "given"
    return replace(options, ranks=pattern(costs, largest, schedule.target_budget)) if given else options


def pattern(costs: Sequence[int], largest: int, budget: int) -> tuple[int, ...]:
    """Uneven ranks that `budget` pays for: the second matrix of each four has none."""
    ranks, left = [], budget
    for index, cost in enumerate(costs):
        wished = 0 if index % 4 == 1 else (3 * index + 2) % (largest + 1)
        ranks.append(min(wished, left // cost))
        left -= ranks[-1] * cost
    return tuple(ranks)


def method_of(name: str, adapter: str, *, checks: int = 4, **changes: Any) -> Method:
    """A method that uses the allocator, from its line alone or, where that is not enough, from a file that ships.

    checks: how often ranks may grow. Raises pydantic's ValidationError if the method is refused.
    """
    made = {"name": "contract", "label": "Contract", "adapter": adapter, "allocator": name, **changes}
    if ALLOCATORS[name].ranks == "grown":
        made["growth"] = Growth(start_rank=1, ranks=1, checks=checks, until=0.75, patience=2, margin=0.0, warmup=2)
    if ALLOCATORS[name].ranks == "given":
        made["pattern"] = Pattern(draw="random")
    if name not in SHIPPED:  # pydantic knows the names of the registry as it was imported
        return Method(**{**made, "allocator": "fixed", "growth": None, "pattern": None}).model_copy(update=made)
    try:
        return Method(**made)
    except ValidationError:
        fitting = [m for m in shipped_methods() if (m.allocator, m.adapter, m.storage) == (name, adapter, "fp32")]
        if not fitting:
            raise
        return Method(**{**fitting[0].model_dump(), **made})


@cache
def shipped_methods() -> list[Method]:
    return [found.item for found in load_catalog(WORKFLOW).methods.values()]


def counts_parameters(name: str, adapter: str) -> bool:
    """Whether a method may count the allocator's budget in parameters."""
    method_of(name, adapter)
    try:
        method_of(name, adapter, unit="parameters")
    except ValidationError as error:
        if "unit" not in str(error):
            raise
        return False
    return True


def cases_of(name: str) -> Iterator[Case]:
    """The allocator on every adapter that its line names, in every unit that methods may count."""
    for adapter in ALLOCATORS[name].adapters:
        yield Case(name, adapter)
        if counts_parameters(name, adapter):
            yield Case(name, adapter, unit="parameters")


def all_cases() -> list[Case]:
    return [case for name in ALLOCATORS for case in cases_of(name)]


@dataclass(frozen=True)
class Added:
    """A line of the registry whose module is in another folder: that of a test, or of an example."""

    name: str
    facts: AllocatorFacts
    folder: Path

    def install(self) -> None:
        """Register it in this process. Tests undo it with the fixture `registered`."""
        ALLOCATORS[self.name] = self.facts
        if str(self.folder) not in bench.engine.allocators.__path__:
            bench.engine.allocators.__path__.append(str(self.folder))


@dataclass(frozen=True)
class Run:
    """What a training did. masks, losses: of each step; changed: the steps after which ranks changed."""

    masks: list[dict[str, list[bool]]]
    changed: list[int]
    losses: list[float]


def data_of(case: Case, rows: int = 8) -> list[Any]:
    """The batches of a whole training."""
    return [batch for batch, _ in zip(batches(0, rows, width_of(case.shapes)), range(STEPS), strict=False)]


def advance(core: Any) -> bool:
    """The optimizer step after `accumulate`, with the held-out loss if one is wanted. Returns whether ranks changed."""
    changed = core.step().masked
    if core.watches:
        changed = core.validated(HELD_OUT_LOSS) or changed
    return bool(changed)


def train(core: Any, data: Sequence[Any], until: int = STEPS) -> Run:
    """Go on with the training of `core` up to step `until`."""
    run = Run([], [], [])
    for step in range(core.completed, until):
        loss = loss_of(core.model, data[step])
        core.accumulate(loss)
        if advance(core):
            run.changed.append(step + 1)
        run.masks.append(core.masks())
        run.losses.append(float(loss.detach()))
    return run


@torch.no_grad()
def updates_of(core: Any) -> Tensor:
    """What the adapter adds to each matrix, without its scale, and the heads, in one vector.

    Factors may differ where their product does not: a decomposition knows its vectors only up to signs.
    """
    products = [((b * e[0].t() if e else b) @ a).flatten() for a, b, *e in core.flat.factors(core.flat.data)]
    return torch.cat([*products, core.flat.data[core.flat.layout.adapter_elements :]])


def demand(condition: object, case: Case, sentence: str) -> None:
    """Raises AssertionError with the sentence unless `condition` holds."""
    if not condition:
        raise AssertionError(f"{case}: {sentence}")
