"""The rank schedule of a cell: how its budget, its method and its backbone's matrices become the engine's schedule.

A budget is an average rank or a number of parameters; the engine's `RankSchedule` holds totals over all matrices,
counted in the method's unit. What can be wrong with a cell here is found when the study is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from bench.config.cell import Cell
from bench.config.yaml_source import KeyPath
from bench.engine.options import BudgetUnit
from bench.engine.schedule import RankSchedule, no_step_to_prune
from bench.errors import BenchError

Shape = tuple[int, int]  # (in_features, out_features) of an adapted matrix


def faults_without_shapes(cell: Cell, train_rows: int | None) -> Iterator[tuple[KeyPath, str]]:
    """What makes a cell impossible whatever the shapes of its matrices are, so that it is found before any download.

    Each fault is the key of the study that causes it, and a message. `train_rows` is the number of training rows, or
    None if it is not known yet.
    """
    recipe, held_out = cell.recipe, cell.recipe.holdout_rows
    most_rows = cell.data.train_rows if train_rows is None else train_rows  # the study's limit may be all that is known
    no_row_left = most_rows is not None and held_out >= most_rows
    if no_row_left:
        yield ("recipe", "holdout_rows"), f"{held_out} rows held out of {most_rows} leave none to train on"
    if cell.method.moves.held_out and not held_out:
        yield ("methods",), f"method {cell.method.name!r} watches held-out rows, the recipe's holdout_rows is 0"
    if cell.selection == "best" and not held_out:
        yield ("selection",), "the best step is chosen by held-out rows, and the recipe's holdout_rows is 0"
    if cell.budget.parameters is not None:
        no_cap = _cap_fault(cell)
        if no_cap:
            yield ("budgets", cell.budget_name, "parameters"), no_cap
    rank = cell.budget.rank
    if rank is None or cell.method.adapter == "full":
        return
    place: KeyPath = ("budgets", cell.budget_name, "rank")
    # Ranks that stay fixed are the same in every matrix. Where they vary, their average may be a fraction.
    if cell.method.moves.ranks == "fixed" and rank != int(rank):
        yield place, _fractional_rank_fault(cell, rank)
    moved = cell.method.moves.ranks == "moved"
    if moved and rank < 1:
        yield place, f"method {cell.method.name!r} starts with a rank in every matrix, the budget allows {rank:g}"
    if (moved or cell.method.prunes) and rank < _initial_rank(cell, rank) and train_rows and not no_row_left:
        total = recipe.total_steps(train_rows - held_out)
        phases = recipe.rank_schedule_at(total)
        fault = no_step_to_prune(phases.initial_steps, phases.final_steps, total)
        if fault:
            yield ("recipe", "rank_schedule"), fault


def start_rank(cell: Cell, shapes: Sequence[Shape]) -> int:
    """The rank of every matrix at the start of the training. Raises BenchError as `largest_rank` does."""
    largest = largest_rank(cell, shapes)
    if cell.method.moves.ranks == "moved":
        return math.floor(_average_rank(cell, shapes))
    return cell.method.growth.start_rank if cell.method.growth else largest


def largest_rank(cell: Cell, shapes: Sequence[Shape]) -> int:
    """The rank that no matrix exceeds at any time.

    The layers are made for this rank, and alpha is divided by it. It is

    - where ranks shrink, move or are given, the budget's `initial_rank`, or 1.5 times the average rank at the end
      (Zhang et al. 2023, section 4.1), and never below that average;
    - where ranks are fixed, or grow by the same amount everywhere, the rank at the end;
    - where ranks grow by importance (IncreLoRA), a multiple of the average rank at the end.

    Raises BenchError if the budget can't be kept: it is below the first rank, or no whole number where ranks are fixed.
    """
    _check_shapes(cell, shapes)
    fault = _cap_fault(cell)
    if fault:
        raise BenchError(f"{cell.id}: {fault}")
    average = _average_rank(cell, shapes)
    growth = cell.method.growth
    if growth is not None:
        if average < growth.start_rank:
            raise BenchError(
                f"{cell.id}: ranks start at {growth.start_rank}, the budget {cell.budget_name!r} allows {average:g}"
            )
        return math.floor(average * growth.ceiling if cell.method.moves.uneven else average)
    if cell.method.moves.ranks != "fixed":
        return _initial_rank(cell, average)
    if cell.budget.rank is not None and average != int(average):
        raise BenchError(f"{cell.id}: {_fractional_rank_fault(cell, average)}")
    if average < 1:
        least = sum(rank_cost(cell, shape) for shape in shapes)
        raise BenchError(f"{cell.id}: {cell.budget.parameters} parameters don't pay for rank 1, which takes {least}")
    return int(average)


def rank_cost(cell: Cell, shape: Shape) -> int:
    """Parameters of one rank: a row of A, a column of B, and a singular value where the adapter has them."""
    return sum(shape) + (1 if cell.method.adapter == "adalora" else 0)


def schedule_of(cell: Cell, train_rows: int, shapes: Sequence[Shape]) -> RankSchedule:
    """The schedule of a cell that trains on `train_rows` rows and adapts matrices of `shapes`.

    Raises BenchError if the cell is impossible, as `faults_without_shapes` and `largest_rank` say.
    """
    for _, fault in faults_without_shapes(cell, train_rows):
        raise BenchError(f"{cell.id}: {fault}")
    total = cell.recipe.total_steps(train_rows - cell.recipe.holdout_rows)
    if cell.method.adapter == "full":  # no budget applies: every matrix keeps its full rank
        _check_shapes(cell, shapes)
        whole = sum(map(min, shapes))
        return RankSchedule(initial_budget=whole, target_budget=whole, total_steps=total)
    rank = largest_rank(cell, shapes)
    if cell.method.moves.ranks in ("grown", "given"):  # the cap holds from the first step
        cap = _target(cell, shapes)
        return RankSchedule(initial_budget=cap, target_budget=cap, total_steps=total)
    if cell.method.moves.ranks == "moved":  # the cap is full from the first step on
        initial = _target(cell, shapes)
    else:
        initial = rank * sum(rank_cost(cell, shape) if cell.method.unit == "parameters" else 1 for shape in shapes)
    if cell.method.moves.ranks == "fixed":
        return RankSchedule(initial_budget=initial, target_budget=initial, total_steps=total)
    phases = cell.recipe.rank_schedule_at(total)
    first, last = phases.initial_steps, phases.final_steps
    if cell.method.moves.pruning != "decay":  # the whole decay is one step: the budget falls where the ranks do
        last = 0 if cell.method.moves.pruning == "end" else last
        first = max(0, total - last - 1)
    try:
        return RankSchedule(
            initial_budget=initial,
            target_budget=_target(cell, shapes),
            initial_steps=first,
            final_steps=last,
            interval=phases.interval,
            total_steps=total,
        )
    except ValueError as error:
        raise BenchError(f"{cell.id}: {error}") from error


def cap_of(cell: Cell, schedule: RankSchedule) -> tuple[BudgetUnit, int]:
    """The unit and the size of the cap that the finished adapter is held to.

    A budget in parameters is a cap in parameters, whatever the method's allocator counts; `schedule` holds it as ranks
    where ranks are counted. Full fine-tuning has no cap: its limit is the full rank of every matrix.
    """
    if cell.budget.parameters is not None and cell.method.adapter != "full":
        return "parameters", cell.budget.parameters
    return cell.method.unit, schedule.target_budget


def _cap_fault(cell: Cell) -> str:
    """Why the method can't promise a cap in parameters; empty where it can, or where the budget is a rank."""
    method, parameters = cell.method, cell.budget.parameters
    if parameters is None or method.adapter == "full":
        return ""
    if method.adapter == "peft":
        return f"what a rank of {method.name!r} costs is PEFT's: give the budget {cell.budget_name!r} as a rank"
    if method.moves.ranks in ("pruned", "moved", "given") and method.unit == "ranks":
        return (
            f"method {method.name!r} counts ranks and can't promise a cap of {parameters} parameters: give the budget "
            f"{cell.budget_name!r} as a rank" + (", or take a method with unit: parameters" if method.prunes else "")
        )
    return ""


def _target(cell: Cell, shapes: Sequence[Shape]) -> int:
    """The total over all matrices at the end, in the method's unit and never above the budget.

    A rank budget that is counted in parameters allows what LoRA has at that rank, so that both have equally many.
    """
    budget, unit = cell.budget, cell.method.unit
    if budget.parameters is not None:
        return budget.parameters if unit == "parameters" else _ranks_within(cell, budget.parameters, shapes)
    assert budget.rank is not None  # a budget has a rank or parameters
    per_rank = len(shapes) if unit == "ranks" else sum(sum(shape) for shape in shapes)
    return math.floor(budget.rank * per_rank + 1e-9)  # 1e-9: a product such as 2.9999999999999996 means 3


def _ranks_within(cell: Cell, parameters: int, shapes: Sequence[Shape]) -> int:
    """How many ranks growing matrices may have together so that they never hold more than `parameters`.

    Where all grow alike, it is a whole rank for each. Where importance chooses, the ranks may all go to the matrices
    that cost most, so these are counted first. Never below the ranks at the start, which `largest_rank` checks.
    """
    assert cell.method.growth is not None  # fixed ranks have no target, and pruned ones are refused
    start, most = cell.method.growth.start_rank, largest_rank(cell, shapes)
    costs = sorted((rank_cost(cell, shape) for shape in shapes), reverse=True)
    if not cell.method.moves.uneven:
        return len(shapes) * (parameters // sum(costs))
    left, ranks = parameters - start * sum(costs), start * len(shapes)
    for cost in costs:
        more = min(most - start, left // cost)
        left, ranks = left - more * cost, ranks + more
        if more < most - start:
            break  # a cheaper matrix may afford more, but dearer ones may be chosen
    return ranks


def _average_rank(cell: Cell, shapes: Sequence[Shape]) -> float:
    """The average rank at the end: the budget's rank, or the uniform rank that its parameters pay for."""
    if cell.budget.rank is not None:
        return cell.budget.rank
    assert cell.budget.parameters is not None  # a budget has a rank or parameters
    ranks = cell.budget.parameters / sum(rank_cost(cell, shape) for shape in shapes)
    return math.floor(ranks) if cell.method.moves.ranks == "fixed" else ranks


def _initial_rank(cell: Cell, average: float) -> int:
    """The rank of every matrix at the start, from which ranks shrink to `average` on average."""
    start = cell.budget.initial_rank or math.floor(1.5 * average + 0.5)
    return max(start, math.ceil(average))


def _fractional_rank_fault(cell: Cell, rank: float) -> str:
    return f"a fixed rank must be a whole number, the budget {cell.budget_name!r} says {rank:g}"


def _check_shapes(cell: Cell, shapes: Sequence[Shape]) -> None:
    """Raises BenchError if the method adapts no matrix of the backbone."""
    if not shapes:
        raise BenchError(f"{cell.id}: no matrix of the backbone is adapted")
