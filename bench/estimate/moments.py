"""Bytes of the two moments that the optimizer keeps, from shapes alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.config.cell import Cell
from bench.config.rank_schedule import largest_rank, rank_cost, start_rank
from bench.engine.packed_moments import MAPS, bytes_of_rank, bytes_of_tensor
from bench.engine.schedule import RankSchedule


def packed_bytes(cell: Cell, sizes: Sequence[tuple[int, int]], tensors: Sequence[int], schedule: RankSchedule) -> int:
    """Bytes of moments in 8 bits, with constants and maps; at the most, where ranks move after the start.

    sizes: of the adapted matrices, in and out. tensors: elements of each tensor that is trained and is no factor of an
    adapter of ours.
    """
    fixed = MAPS + sum(bytes_of_tensor(elements) for elements in tensors)
    if not cell.method.lean:
        return fixed
    of_rank = [bytes_of_rank(*size, svd=cell.method.adapter == "adalora") for size in sizes]
    start = 0 if cell.method.moves.ranks == "given" else start_rank(cell, sizes) * sum(of_rank)
    if cell.method.unit == "parameters":
        per_parameter = max(of / rank_cost(cell, size) for of, size in zip(of_rank, sizes, strict=True))
        most = math.ceil(schedule.target_budget * per_parameter)
    else:  # the budget's ranks where they take most
        most = sum(sorted(of_rank * largest_rank(cell, sizes))[-schedule.target_budget :])
    return fixed + max(start, most) + (sum(of_rank) if cell.method.moves.reserve else 0)
