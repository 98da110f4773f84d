"""Successive halving: trials are compared at rungs, and those that go on are trained as if nothing had happened."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from helpers.lab_models import STEPS
from helpers.small_cells import Lab, Moment, outcome, record_of

from bench.config.cell import Cell, Halving, Trial
from bench.config.tuning import HELD_OUT
from bench.errors import EXIT_TRY_AGAIN, BenchError
from bench.paths import CellPaths, StudyPaths
from bench.records.rung import Rung, read_rung
from bench.training.course import Course
from bench.training.done import inputs_of

RATES = (5e-3, 1e-5, 2e-3)
HALVING = Halving(rungs=[0.25, 0.5], factor=2, rivals="r")  # of 3 points 2 go on after step 3, 1 after step 6


@dataclass
class Rivals:
    """The trials of a group, in a results folder of their own."""

    lab: Lab
    trials: tuple[Cell, ...]
    paths: StudyPaths

    @classmethod
    def of(cls, lab: Lab, results: Path, rates: tuple[float, ...] = RATES, **recipe: Any) -> Rivals:
        trials = []
        for number, rate in enumerate(rates):
            cell = lab.prepare(lab.cell(rows=60, holdout_rows=12, learning_rate=rate, **recipe))
            trial = Trial(point=f"p{number}", values={"learning_rate": rate}, choose_by="loss", halving=HALVING)
            trials.append(cell.model_copy(update={"trial": trial}))
        return cls(lab, tuple(trials), StudyPaths(results, "test"))

    def folder(self, number: int) -> Path:
        return self.paths.cell(self.trials[number].id).folder

    def course(self, number: int, rung: int | None) -> Course:
        trial = self.trials[number]
        inputs = inputs_of(trial, self.lab.cache, None)
        return Course(trial, inputs, self.folder(number), self.lab.cache, self.paths, self.trials, rung)

    def climb(self, number: int, rung: int | None) -> list[int | None]:
        """Bring a trial to its rung, or to its record; returns to where it was trained on the way."""
        course, trained = self.course(number, rung), []
        while (part := course.next()) is not None:
            trained.append(part.rung)
            assert self.lab.train(self.trials[number], course.out, every=None, rung=part.rung) == 0
            assert len(trained) <= course.parts
        assert course.output.is_file()
        return trained

    def rung(self, number: int, rung: int) -> Rung:
        found = read_rung(CellPaths(self.folder(number)).rung(rung))
        assert found is not None
        return found

    def checkpoints(self) -> int:
        folder = self.lab.cache / "checkpoints"
        return len(list(folder.iterdir())) if folder.is_dir() else 0


def _without_rungs(result: dict[str, Any]) -> dict[str, Any]:
    files = {name: sha256 for name, sha256 in result["files"].items() if not name.startswith("rung-")}
    return {"files": files, "record": {**result["record"], "rungs": []}}


def test_from_the_first_rung_to_the_records(lab: Lab, tmp_path: Path, undisturbed: Callable[..., Any]) -> None:
    rivals = Rivals.of(lab, tmp_path / "results")
    numbers = range(len(RATES))
    assert rivals.climb(0, 1) == [1]
    with pytest.raises(BenchError, match=r"p0/seed-0: .*rung 1 .*p1/seed-0 is not trained to it; run .* --point p1 "):
        rivals.climb(0, 2)
    assert [rivals.climb(number, 1) for number in numbers] == [[], [1], [1]]
    assert {rivals.rung(number, 1).score.step for number in numbers} == {3}  # type: ignore[union-attr]
    assert not any((rivals.folder(number) / "record.json").exists() for number in numbers)

    losses = [rivals.rung(number, 1).score.loss for number in numbers]  # type: ignore[union-attr]
    worst = max(numbers, key=lambda number: losses[number] or 0.0)
    trained = [rivals.climb(number, 2) for number in numbers]
    assert trained == [[] if number == worst else [2] for number in numbers]
    assert rivals.rung(worst, 2).stopped
    assert rivals.checkpoints() == 2
    trained = [rivals.climb(number, None) for number in numbers]
    assert sorted(map(len, trained)) == [0, 0, 1]
    winner = next(number for number in numbers if trained[number])
    assert rivals.checkpoints() == 0

    for number in numbers:
        record = record_of(rivals.folder(number))
        assert record.training is not None
        assert record.status == "ok"
        assert record.training.stopped_at_rung == (None if number == winner else 1 if number == worst else 2)
        assert record.training.steps == (STEPS if number == winner else 3 if number == worst else 6)
        assert len((rivals.folder(number) / "curve.jsonl").read_text().splitlines()) == record.training.steps
    stopped = record_of(rivals.folder(worst))
    assert stopped.rungs[0].metrics == stopped.metrics[HELD_OUT]["last"]
    # before the ranks are frozen the budget is that of the step
    assert stopped.parameters is not None
    assert stopped.parameters.budget.used <= stopped.parameters.budget.limit
    assert stopped.parameters.budget.limit > record_of(rivals.folder(winner)).parameters.budget.limit  # type: ignore[union-attr]

    whole = undisturbed(lab, rivals.trials[winner])
    assert _without_rungs(outcome(rivals.folder(winner))) == _without_rungs(whole)

    # What is lost is made again from what is there: a record of a stopped trial and rungs, without a training.
    before = outcome(rivals.folder(worst))
    for name in ("record.json", "rung-2.json"):
        (rivals.folder(worst) / name).unlink()
    assert rivals.climb(worst, 2) == []
    assert outcome(rivals.folder(worst)) == before
    scores = [rivals.rung(winner, number).score for number in (1, 2)]
    for number in (1, 2):
        CellPaths(rivals.folder(winner)).rung(number).unlink()
    assert rivals.climb(winner, 2) == []
    assert [rivals.rung(winner, number).score for number in (1, 2)] == scores


def test_killed_on_the_way(lab: Lab, tmp_path: Path, undisturbed: Callable[..., Any]) -> None:
    """The first of two trials is disturbed on its way to each rung and to its end; the second is hopeless."""
    rivals = Rivals.of(lab, tmp_path / "results", (5e-3, 0.5))
    disturbed = [(1, Moment("step", 2)), (2, Moment("step", 1)), (None, Moment("evaluation", 1))]
    for rung, moment in disturbed:
        course = rivals.course(0, rung)
        part = course.next()
        assert part is not None
        assert lab.train(rivals.trials[0], course.out, moment, every=None, rung=part.rung) == EXIT_TRY_AGAIN
        if rung == 2:  # it starts again from step 0
            shutil.rmtree(lab.cache / "checkpoints")
        rivals.climb(0, rung)
        if rung is not None:
            rivals.climb(1, rung)
    assert _without_rungs(outcome(rivals.folder(0))) == _without_rungs(undisturbed(lab, rivals.trials[0]))


def test_a_diverged_trial_is_the_worst(lab: Lab, tmp_path: Path) -> None:
    rivals = Rivals.of(lab, tmp_path / "results", (1e37, 1e-3), gradient_clip=None)
    for rung in (1, 2, None):
        for number in (0, 1):
            rivals.climb(number, rung)
    assert record_of(rivals.folder(0)).status == "diverged"
    assert [rivals.rung(0, rung).status for rung in (1, 2)] == ["diverged", "diverged"]
    record = record_of(rivals.folder(1))
    assert record.training is not None
    assert (record.status, record.training.steps) == ("ok", STEPS)


def test_a_rung_that_was_edited_is_refused_by_rivals_and_made_again(lab: Lab, tmp_path: Path) -> None:
    rivals = Rivals.of(lab, tmp_path / "results", (5e-3, 1e-7))
    for number in (0, 1):
        rivals.climb(number, 1)
    before = rivals.rung(1, 1)
    file = CellPaths(rivals.folder(1)).rung(1)
    file.write_text(file.read_text().replace('"status": "ok"', '"status": "oom"', 1))
    with pytest.raises(BenchError, match=r"rung-1\.json: no readable rung"):
        rivals.course(0, 2).next()
    assert rivals.climb(1, 1) == [1]
    assert rivals.rung(1, 1).score == before.score
