"""The commands of a study that tunes: trials in one job, and a cell that takes the point that they chose."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.projects import ROOT, Project, make_project

from bench.config.resolve import load_study
from bench.errors import EXIT_BAD_INPUT
from bench.paths import StudyPaths
from bench.records.io import read_record
from bench.tuning.choose import choose

TUNING = "tuning: {space: {learning_rate: [0.001, 0.01]}, holdout_rows: 16}\n"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = make_project(tmp_path, "embedded")
    study = project.workflow / "studies" / "tiny.yaml"
    study.write_text(study.read_text().replace("tasks: [cola, sst2]", "tasks: [cola]") + TUNING)
    return project


def _run(project: Project, script: str) -> subprocess.CompletedProcess[str]:
    """Run `script`, in which bench(WORDS) is the command's exit code, in a process of its own."""
    first = "import sys; from bench.cli.app import main; bench = lambda words: main(words.split())\n"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "BENCH_WORKFLOW": str(project.workflow)}
    environment["BENCH_RESULTS"] = str(project.folder / "results")
    return subprocess.run(
        [sys.executable, "-c", first + script], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_from_trials_to_the_cell(project: Project) -> None:
    study, paths = load_study("tiny", folder=project.workflow), StudyPaths(project.folder / "results", "tiny")
    trials = study.trials["cola/lora/small"]
    cell = "train --study tiny --task cola --method lora --budget small --seed 0"
    names = [f"lora/small/{trial.trial.point}/{trial.seed}" for trial in trials if trial.trial]
    one = f"{cell.removesuffix(' 0')} {trials[0].seed} --point {names[0].split('/')[2]}"
    group = f"group --study tiny --task cola --cells {' '.join(names)}"
    done = _run(project, f"print(bench('{cell}'), bench('{one}'), bench('{group}'), bench('{cell}'))")
    assert done.stdout.split() == [str(EXIT_BAD_INPUT), "0", "0", "0"], done.stderr
    assert f"2 of 2 trials have no record of their spec: {trials[0].id}" in done.stderr

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
