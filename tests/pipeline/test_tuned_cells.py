"""The commands of a study that tunes: trials in one job, and a cell that takes the point that they chose."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.projects import Project, make_project

from bench.cli.app import main
from bench.config.resolve import load_study
from bench.errors import EXIT_BAD_INPUT
from bench.paths import StudyPaths
from bench.records.io import read_record
from bench.tuning.choose import choose

TUNING = (
    "tuning: {space: {learning_rate: [0.001, 0.01]}, holdout_rows: 16, halving: 2}\n"  # one rung, at half the steps
)
CELL = "--study tiny --task cola --method lora --budget small"


@pytest.fixture
def project(tmp_path: Path, prepared_cache: Path) -> Project:
    project = make_project(tmp_path, "embedded", prepared_cache)
    study = project.workflow / "studies" / "tiny.yaml"
    study.write_text(study.read_text().replace("tasks: [cola, sst2]", "tasks: [cola]") + TUNING)
    return project


def _run(project: Project, script: str) -> subprocess.CompletedProcess[str]:
    """Run `script`, in which bench(WORDS) is the command's exit code, in a process of its own."""
    first = "import sys; from bench.cli.app import main; bench = lambda words: main(words.split())\n"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "BENCH_WORKFLOW": str(project.workflow)}
    environment["BENCH_RESULTS"] = str(project.folder / "results")
    return subprocess.run(
        [sys.executable, "-c", first + script],
        cwd=project.folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.long
def test_from_trials_to_the_cell(project: Project) -> None:
    study, paths = load_study("tiny", folder=project.workflow), StudyPaths(project.folder / "results", "tiny")
    trials = study.trials["cola/lora/small"]
    first, names = trials[0], " ".join(trial.id.removeprefix("cola/").replace("seed-", "") for trial in trials)
    assert first.trial is not None
    words = [
        cell := f"train {CELL} --seed 0",
        f"train {CELL} --seed {first.seed} --point {first.trial.point} --rung 1",
        f"group --study tiny --task cola --cells {names}",  # the other trial was not trained to the rung
        f"group --study tiny --task cola --cells {names} --rung 1",
        f"group --study tiny --task cola --cells {names}",
        cell,
    ]
    done = _run(project, f"print(*map(bench, {words}))")
    assert done.stdout.split() == [str(EXIT_BAD_INPUT), "0", str(EXIT_BAD_INPUT), "0", "0", "0"], done.stderr
    assert f"2 of 2 trials have no record of their spec: {first.id}" in done.stderr
    assert f"{trials[1].id} is not trained to it" in done.stderr
    training = [read_record(paths.cell(trial.id).record).training for trial in trials]
    assert sorted((part.steps, part.stopped_at_rung is None) for part in training if part) == [(1, False), (2, True)]

    record, choice = read_record(paths.cell("cola/lora/small/seed-0").record), choose(trials, paths)
    assert choice is not None
    assert record.kind == "training"
    assert record.spec["recipe"]["learning_rate"] == choice.values["learning_rate"]
    assert record.spec["recipe"]["holdout_rows"] == 0
    assert record.spec["choice"] == choice.model_dump(mode="json")
    assert record.reported is not None
    assert record.reported.split == "validation"

    file = paths.cell("cola/lora/small/seed-0").record
    os.utime(file, (0, 0))
    before = file.read_bytes()
    again = _run(project, f"code = bench('{cell} --offline'); sys.exit(code or 'torch' in sys.modules)")
    assert again.returncode == 0, again.stderr
    assert file.read_bytes() == before
    assert file.stat().st_mtime > 0  # touched, and nothing else


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (f"train {CELL} --seed 0 --rung 1", "--rung 1: cola/lora/small/seed-0 is no trial"),
        (
            f"train {CELL} --seed 100 --point POINT --rung 2",
            "--rung 2: the number of rungs of cola/lora/small/POINT/seed-100 is 1",
        ),
        (
            f"train {CELL} --seed 100 --point POINTS",
            "study 'tiny' has no trial cola/lora/small/POINTS/seed-100 (did you mean",
        ),
        ("group --study tiny --task cola --cells lora/small/POINT", "expected method/budget/seed, such as"),
        ("group --study tiny --task cola --cells lora/a/b/c/0", "expected method/budget/seed, such as"),
    ],
    ids=["no-trial", "no-rung", "no-point", "no-seed", "five-parts"],
)
def test_refused(project: Project, capsys: pytest.CaptureFixture[str], words: str, message: str) -> None:
    (trial, *_) = load_study("tiny", folder=project.workflow).trials["cola/lora/small"]
    assert trial.trial is not None
    places = f" --workflow {project.workflow} --results {project.folder / 'results'}"
    assert main((words + places).replace("POINT", trial.trial.point).split()) == EXIT_BAD_INPUT
    assert message.replace("POINT", trial.trial.point) in capsys.readouterr().err
