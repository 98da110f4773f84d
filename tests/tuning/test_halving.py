"""Who goes on from a rung, as a pure function of what all rivals scored there."""

from __future__ import annotations

from typing import Any

import pytest

from bench.config.metric_facts import metric_facts
from bench.records.rung import Rung
from bench.records.rung_score import RungScore
from bench.tuning.halving import going_on

LESS_IS_BETTER = ("no_label", "perplexity", "evaluate:wer")


def _rung(score: float | None, loss: float | None = 0.5, *, number: int = 1, **changes: Any) -> Rung:
    scored = RungScore(step=3, metrics=dict.fromkeys(("mcc", *LESS_IS_BETTER), score), loss=loss)
    return Rung(**{"trial": "h", "id": "t", "rung": number, "status": "ok", "score": scored, **changes})


def _failed(number: int = 1) -> Rung:
    return Rung(trial="h", id="t", rung=number, status="diverged")


def _names(*seeds: list[Rung]) -> dict[str, list[Rung]]:
    return dict(zip("abcdefgh", seeds, strict=False))


@pytest.mark.parametrize(
    ("factor", "number", "left"), [(2, 1, 4), (2, 2, 2), (2, 3, 1), (3, 1, 3), (3, 2, 1), (16, 1, 1)]
)
def test_the_best_part_goes_on(factor: int, number: int, left: int) -> None:
    rungs = _names(*([_rung(score / 10, number=number)] for score in (3, 8, 1, 6, 2, 7, 4, 5)))
    best_first = ["b", "f", "d", "h", "g", "a", "e", "c"]
    assert going_on(rungs, metric_facts("mcc"), factor) == set(best_first[:left])


def test_seeds_are_averaged() -> None:
    rungs = _names([_rung(0.9), _rung(0.1)], [_rung(0.6), _rung(0.5)])
    assert going_on(rungs, metric_facts("mcc"), 2) == {"b"}


@pytest.mark.parametrize(
    ("rungs", "best"),
    [
        (_names([_rung(0.5, 0.3)], [_rung(0.5, 0.2)]), "b"),  # of equal scores the lower loss
        (_names([_rung(0.5)], [_rung(0.5)]), "a"),  # of equal losses, too, the first point
        (_names([_rung(None)], [_rung(-0.9)]), "b"),  # an undefined metric is the worst
        (_names([_rung(0.9), _failed()], [_rung(0.1), _rung(0.1)]), "b"),  # as is a seed that diverged
        (_names([_failed()], [_failed()]), "a"),
        (_names([_rung(0.5, None)], [_rung(0.5, 9.0)]), "b"),
    ],
    ids=["loss", "order", "undefined", "a-seed-diverged", "all-diverged", "infinite-loss"],
)
def test_ties_and_failures(rungs: dict[str, list[Rung]], best: str) -> None:
    assert going_on(rungs, metric_facts("mcc"), 2) == {best}


def test_by_loss_and_by_a_metric_that_is_better_when_lower() -> None:
    assert going_on(_names([_rung(0.9, 0.3)], [_rung(0.1, 0.2)]), metric_facts("loss"), 2) == {"b"}
    for metric in LESS_IS_BETTER:
        assert going_on(_names([_rung(0.9, 0.2)], [_rung(0.1, 0.3)]), metric_facts(metric), 2) == {"b"}


def test_what_a_rung_stopped_stays_out_and_what_failed_has_taken_its_place() -> None:
    """Four points, of which b and c go on from rung 1; c diverges on the way to rung 2."""
    stopped = [_rung(0.99, number=2, stopped=True)]
    rungs = _names(stopped, [_rung(0.1, number=2)], [_failed(2)], stopped)
    assert going_on(rungs, metric_facts("mcc"), 2) == {"b"}
    rungs = _names(*([_rung(0.9, number=2, stopped=True)] for _ in range(2)), [_failed(2)], [_failed(2)])
    assert going_on(rungs, metric_facts("mcc"), 2) == {
        "c"
    }  # nothing is left to train, and nothing that was stopped comes back
