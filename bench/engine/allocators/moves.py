"""Which ranks leave and which enter in one move of ElaLoRA; `elalora` says where the rule is from. Plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.engine.layout import Kept, Layout


@dataclass(frozen=True)
class Move:
    """The ranks of each site afterwards, and how many of all sites leave and enter."""

    kept: Kept
    pruned: int
    added: int


def choose_move(
    layout: Layout, full: Layout, scores: Sequence[float], *, most: int, per_matrix: int, spare: int
) -> Move:
    """The move by `scores` [triplets] from the ranks of `layout`, none of whose matrices exceeds its ranks in `full`.

    The `per_matrix` least important ranks of every matrix stand in one order. The lowest of them are pruned; the
    highest each give their own matrix a new rank, of a number that it does not hold. At most `most` ranks enter. The
    budget has room for `spare` of them; each of the others takes the place of a less important one that is pruned.
    """
    order: list[tuple[float, int, int]] = []  # importance, site, rank
    for site, (first, held) in enumerate(zip(layout.first_triplets, layout.kept, strict=True)):
        order += sorted((scores[first + place], site, rank) for place, rank in enumerate(held))[:per_matrix]
    order.sort()
    left = list(layout.ranks)
    lost: list[tuple[float, int, int]] = []
    for score, site, rank in order:
        if len(lost) < most - spare and left[site] > 1:
            lost.append((score, site, rank))
            left[site] -= 1
    losers = {site for _, site, _ in lost}
    gained: list[int] = []
    for score, site, _ in sorted(order, key=lambda entry: (-entry[0], entry[1], entry[2])):
        if len(gained) == most:
            break
        if site in losers or layout.ranks[site] + gained.count(site) >= full.ranks[site]:
            continue
        pair = len(gained) - spare  # the lost rank whose place it takes; below 0 none has to leave
        if pair < 0 or (pair < len(lost) and lost[pair][0] < score):
            gained.append(site)
    lost = lost[: max(0, len(gained) - spare)]
    gone = {(site, rank) for _, site, rank in lost}
    kept = []
    for site, held in enumerate(layout.kept):
        free = [rank for rank in full.kept[site] if rank not in held]
        stay = [rank for rank in held if (site, rank) not in gone]
        kept.append(tuple(sorted(stay + free[: gained.count(site)])))
    return Move(tuple(kept), len(lost), len(gained))
