"""How often one method would have been ahead after k of the same points: against a count of every choice."""

from __future__ import annotations

from itertools import combinations
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.analysis.stats.fewer_trials import shares_ahead

SCORE = st.sampled_from([-inf, 0.1, 0.2, 0.3, 0.4, 0.5])  # few values, so that there are ties


@given(st.lists(st.tuples(SCORE, SCORE), min_size=1, max_size=7))
def test_the_shares_are_those_of_all_choices(points: list[tuple[float, float]]) -> None:
    first, second = zip(*points, strict=True)
    for k, shares in enumerate(shares_ahead(first, second), start=1):
        bests = [
            (max(first[i] for i in chosen), max(second[i] for i in chosen))
            for chosen in combinations(range(len(points)), k)
        ]
        counted = (sum(a > b for a, b in bests) / len(bests), sum(b > a for a, b in bests) / len(bests))
        assert shares == pytest.approx(counted)


def test_all_points_leave_one_choice() -> None:
    assert shares_ahead([0.8, 0.2, 0.1], [0.3, 0.9, 0.7])[-1] == (0.0, 1.0)


@pytest.mark.parametrize(("first", "second"), [([], []), ([0.1], [0.1, 0.2]), ([0.0] * 257, [0.0] * 257)])
def test_other_lists_are_refused(first: list[float], second: list[float]) -> None:
    with pytest.raises(ValueError, match="same number of points"):
        shares_ahead(first, second)
