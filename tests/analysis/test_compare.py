"""bench compare: two runs of one commit show no difference; a planted drop is found, with the right interval."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.records import study_of, write_study
from helpers.reproductions import answer_otherwise, right_answers
from scipy import stats

from bench.analysis.compare.report import Report, report_on
from bench.analysis.compare.sides import Side, paired
from bench.analysis.stats.examples import Spread
from bench.analysis.stats.over_tasks import mean_over_tasks
from bench.analysis.stats.paired import paired_interval
from bench.cli.app import main

ROWS = 2000
TWO_TASKS = ("tasks=[qnli, sst2]", "methods=[lora, adalora]")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks that report accuracy, two methods, three seeds, of 2,000 examples each."""
    results = tmp_path_factory.mktemp("made")
    study = write_study(study_of(3, *TWO_TASKS), results, lambda cell: 0.85 + 0.01 * cell.seed, rows=ROWS)
    for folder in study.glob("cells/*/*/large"):
        shutil.rmtree(folder)
    return study


@pytest.fixture
def a(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "a" / "demo"))


@pytest.fixture
def b(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "b" / "demo"))


def cell(study: Path, task: str, method: str, seed: int) -> Path:
    return study / "cells" / task / method / "small" / f"seed-{seed}"


def drop(study: Path, task: str, method: str, counts: dict[int, int]) -> None:
    """Plant a drop: by seed, so many right answers become wrong. The first 10 of each seed's are others."""
    for seed, count in counts.items():
        folder = cell(study, task, method, seed)
        answer_otherwise(folder, right_answers(folder, 10 * seed, count))


def report(a: Path, b: Path) -> Report:
    return report_on(paired(Side.at(a), Side.at(b)))


def rights(study: Path, task: str, method: str, seed: int) -> np.ndarray:
    frame = pd.read_parquet(cell(study, task, method, seed) / "predictions.parquet").sort_values("row")
    return (frame["prediction"] == frame["reference"]).to_numpy().astype(float)


def keep_seeds(study: Path, *seeds: int) -> None:
    for folder in study.rglob("seed-*"):
        if int(folder.name.removeprefix("seed-")) not in seeds:
            shutil.rmtree(folder)


def test_two_runs_of_one_commit(a: Path, b: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["compare", str(a), str(b), "--fail-over", "0"]) == 0
    printed = capsys.readouterr()
    assert "All cells that both have, 12, are the same bit for bit: no difference." in printed.out
    found = report(a, b)
    assert all(change.interval is None and change.difference == 0 for change in found.groups.values())
    assert all(over.mean is not None and (over.mean.low, over.mean.high) == (0, 0) for over in found.over_tasks)
    assert [table.name for table in found.tables] == ["over_tasks", "groups", "cells"]
    assert not any(entry.bold for table in found.tables for row in table.rows for entry in row)


def test_a_planted_drop_with_one_seed(a: Path, b: Path, capsys: pytest.CaptureFixture) -> None:
    """Two points, 40 of 2,000 answers: Bonett and Price's interval, by their formula."""
    for side in (a, b):
        keep_seeds(side, 0)
    drop(b, "sst2", "adalora", {0: 40})
    found = report(a, b)
    change = found.groups["demo", "sst2", "adalora", "small"]
    assert change.difference == pytest.approx(-0.02)
    assert (change.differing, change.examples) == (40, ROWS)
    total = ROWS + 2
    lost, won = 41 / total, 1 / total
    half = stats.t.ppf(0.975, total - 1) * np.sqrt((lost + won - (lost - won) ** 2) / total)
    assert change.interval is not None
    assert change.interval.low == pytest.approx(won - lost - half)
    assert change.interval.high == pytest.approx(won - lost + half)
    assert main(["compare", str(a), str(b), "--fail-over", "1.0"]) == 1
    said = capsys.readouterr().err
    assert "worse than --fail-over 1 allows: sst2/adalora/small: −2.00 points [−2.63, −1.37]" in said
    assert said.count("worse than") == 1
    assert main(["compare", str(a), str(b), "--fail-over", "2.5"]) == 0
    assert main(["compare", str(b), str(a), "--fail-over", "0"]) == 0  # it is better now
    assert main(["compare", str(a), str(b)]) == 0


def crossed(differences: np.ndarray) -> tuple[float, float]:
    """The interval of a mean of examples x seeds with both crossed, written out for shares of right examples."""
    examples, seeds = differences.shape
    more = np.vstack([differences, np.ones(seeds), -np.ones(seeds)])
    number = examples + 2
    of_mean = more.mean(axis=1).var() / number
    of_one = np.mean([more[:, seed].var() / number for seed in range(seeds)])
    of_seeds = differences.mean(axis=0).var(ddof=1) / seeds
    of_examples = max(0.0, of_mean - (of_one - of_mean) / (seeds - 1), of_mean - of_seeds)
    t_seeds, t_examples = stats.t.ppf(0.975, seeds - 1), stats.t.ppf(0.975, number - 1)
    half = np.sqrt(t_seeds**2 * of_seeds + t_examples**2 * of_examples)
    return float(more.mean() - half), float(more.mean() + half)


def test_a_planted_drop_with_three_seeds_and_over_tasks(a: Path, b: Path) -> None:
    counts = {0: 36, 1: 40, 2: 44}
    for task in ("sst2", "qnli"):
        drop(b, task, "adalora", counts)
    found = report(a, b)
    bounds = []
    for task in ("sst2", "qnli"):
        change = found.groups["demo", task, "adalora", "small"]
        differences = np.stack(
            [rights(b, task, "adalora", s) - rights(a, task, "adalora", s) for s in range(3)], axis=1
        )
        assert change.difference == pytest.approx(-0.02)
        assert change.interval is not None
        bounds.append(crossed(differences))
        assert (change.interval.low, change.interval.high) == pytest.approx(bounds[-1])
        assert change.worse_by(0.01)
        assert not change.worse_by(0.02)
    (over,) = [over for over in found.over_tasks if over.method == "adalora"]
    half = np.sqrt(sum(((high - low) / 2) ** 2 for low, high in bounds)) / 2
    center = np.mean([(low + high) / 2 for low, high in bounds])
    assert over.mean is not None
    assert (over.mean.low, over.mean.high) == pytest.approx((center - half, center + half))
    assert over.worse_by(0.01)
    (untouched,) = [over for over in found.over_tasks if over.method == "lora"]
    assert untouched.same_bits
    assert not untouched.worse_by(0.0)
    assert len(found.cells) == 12
    for table in found.tables[:3]:  # bold says less here than in the tables of a study
        assert any(entry.bold for row in table.rows for entry in row)
        assert any("Not corrected for the number of differences" in note for note in table.footnotes)


def test_the_mean_over_tasks_covers() -> None:
    """Of 400 studies of four tasks and three seeds without any difference, at least 94% of the intervals hold zero."""
    generator = np.random.default_rng(5)
    held = 0
    for _ in range(400):
        intervals = []
        for spread in (0.002, 0.01, 0.01, 0.03):  # of seeds; that of examples is the same everywhere
            examples = generator.normal(0, 0.008)
            differences = (examples + generator.normal(0, spread, 3)).tolist()
            intervals.append(paired_interval(differences, Spread(0.008**2, 0.008**2, 500)))
        held += not mean_over_tasks(intervals).excludes_zero
    assert held >= 0.94 * 400
