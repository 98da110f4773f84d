"""Which ranks leave and enter in a move, and when; `elalora` and `l1ra` have the sources of the rules. Plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.engine.layout import Kept, Layout
from bench.engine.schedule import RankSchedule


@dataclass(frozen=True)
class Move:
    """The ranks of each site afterwards, and how many of all sites leave and enter."""

    kept: Kept
    pruned: int
    added: int


def even_steps(schedule: RankSchedule, times: int) -> set[int]:
    """`times` steps, evenly between the first and the last phase of `schedule`."""
    first, steps = schedule.initial_steps, schedule.freezes_at - schedule.initial_steps
    return {first + round(steps * k / (times + 1)) for k in range(1, times + 1)}


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


def move_shut_ranks(layout: Layout, full: Layout, gates: Sequence[float], *, spare: int) -> Move:
    """The move by `gates` [triplets] from the ranks of `layout`, none of whose matrices exceeds its ranks in `full`.

    Ranks with a gate of 0 leave, but for the last one of a matrix. Matrices that lose none get as many, and `spare`
    more: one each in turn, in the order of their smallest gate, the widest open first. Where these have no room for
    all, fewer leave.
    """
    shut: list[tuple[int, int]] = []  # site, rank
    smallest: dict[int, float] = {}  # of the matrices whose gates are all open
    for site, (first, held) in enumerate(zip(layout.first_triplets, layout.kept, strict=True)):
        of_site = gates[first : first + len(held)]
        closed = [rank for rank, gate in zip(held, of_site, strict=True) if gate <= 0]
        shut += [(site, rank) for rank in (closed[:-1] if len(closed) == len(held) else closed)]
        if not closed and held:
            smallest[site] = min(of_site)
    gained = dict.fromkeys(sorted(smallest, key=lambda site: (-smallest[site], site)), 0)
    wanted = len(shut) + spare
    while sum(gained.values()) < wanted:
        room = [site for site in gained if layout.ranks[site] + gained[site] < full.ranks[site]]
        if not room:
            break
        for site in room[: wanted - sum(gained.values())]:
            gained[site] += 1
    gone = set(shut[: max(0, sum(gained.values()) - spare)])
    kept = []
    for site, held in enumerate(layout.kept):
        free = [rank for rank in full.kept[site] if rank not in held]
        stay = [rank for rank in held if (site, rank) not in gone]
        kept.append(tuple(sorted(stay + free[: gained.get(site, 0)])))
    return Move(tuple(kept), len(gone), sum(gained.values()))
