"""Runs of a study that tunes: what is trained, what is left as it is, and what a kill in between changes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.projects import Project, make_project

from bench.config.tuned_file import read_tuned
from bench.config.tuning import HELD_OUT
from bench.pipeline.run_options import RunOptions
from bench.records.io import read_record, write_record
from bench.records.schema import result_of

pytestmark = pytest.mark.long
TUNED = """\
name: tiny
data: embedded
backbones: {classification: minilm}
tasks: [cola]
methods: [lora, adalora]
budgets: {small: {rank: 2, initial_rank: 4}}
seeds: [0]
limits: {train_rows: 64, evaluation_rows: 32}
recipe: {max_steps: 2, batch_size: 8, max_length: 32}
cells_per_job: 2
tuning:
  space: {learning_rate: {from: 1.0e-4, to: 1.0e-2, scale: log}}
  trials: 2
  holdout_rows: 16
"""
FRESH = {"trials_cola_1": 1, "trials_cola_2": 1, "group_cola_1": 1, "group_cola_2": 1, "tuned": 1}
LORA, ADALORA = "cola/lora/small", "cola/adalora/small"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, prepared_cache: Path) -> Project:
    """The whole study, trained once; no test changes it."""
    project = tuned_project(tmp_path_factory.mktemp("tuned"), prepared_cache)
    done = project.snakemake("records")
    assert done.code == 0, done.out
    assert trained(done.jobs) == FRESH
    assert sorted(read_tuned(project.folder / "results/tiny/tuned.yaml").groups) == sorted((LORA, ADALORA))
    return project


@pytest.fixture
def finished(undisturbed: Project, tmp_path: Path) -> Project:
    """A copy of the finished study."""
    folder = tmp_path / "copy"
    shutil.copytree(undisturbed.folder, folder, symlinks=True)
    return replace(undisturbed, folder=folder)


def tuned_project(folder: Path, prepared: Path) -> Project:
    project = make_project(folder, "embedded", prepared)
    (project.workflow / "studies" / "tiny.yaml").write_text(TUNED)
    return project


def trained(jobs: dict[str, int]) -> dict[str, int]:
    return {rule: n for rule, n in jobs.items() if rule.startswith(("trial", "train", "group", "rung", "tuned"))}


def trials(project: Project, group: str) -> list[Path]:
    return sorted((project.folder / "results/tiny/trials" / group).rglob("record.json"))


def final(project: Project, group: str) -> Path:
    return project.folder / "results/tiny/cells" / group / "seed-0" / "record.json"


def results(project: Project) -> dict[str, Any]:
    """What must not depend on how often the run was killed."""
    folder = project.folder / "results/tiny"
    records = {
        file.relative_to(folder).as_posix(): result_of(read_record(file)) for file in folder.rglob("record.json")
    }
    return {**records, "tuned": (folder / "tuned.yaml").read_text()}


def test_a_finished_study_plans_nothing(undisturbed: Project) -> None:
    again = undisturbed.snakemake("-n", "records")
    assert again.nothing_to_do
    assert "no record yet" not in again.out


def test_a_deleted_trial_runs_alone_and_trains_no_final_cell(finished: Project) -> None:
    lost = trials(finished, LORA)[0]
    others = [file for group in (LORA, ADALORA) for file in trials(finished, group) if file != lost]
    cells = [final(finished, LORA), final(finished, ADALORA)]
    kept = {file: file.read_bytes() for file in (*others, *cells)}
    times = {file: file.with_name("curve.jsonl").stat().st_mtime_ns for file in (lost, *others, *cells)}
    lost.unlink()
    done = finished.snakemake("records")
    assert done.code == 0, done.out
    assert trained(done.jobs) == {"trials_cola_1": 1, "group_cola_1": 1, "tuned": 1}
    assert "tiny: 1 of 4 trials and 0 of 2 final cells have no record yet\n" in done.out
    assert f"tiny: the recorded final cells of {LORA} are trained again only if the choice changes\n" in done.out
    assert lost.is_file()
    assert {file: file.read_bytes() for file in kept} == kept
    again = [file for file, stamp in times.items() if file.with_name("curve.jsonl").stat().st_mtime_ns != stamp]
    assert again == [lost]
    assert finished.snakemake("-n", "records").nothing_to_do


def test_another_choice_trains_the_final_cells_of_its_group_alone(finished: Project) -> None:
    chosen = read_record(final(finished, LORA)).spec["recipe"]["learning_rate"]
    for file in trials(finished, LORA):
        record = read_record(file)
        is_chosen = record.spec["recipe"]["learning_rate"] == chosen
        metrics = {HELD_OUT: {"last": {"mcc": -0.5 if is_chosen else 0.5}}}
        write_record(record.model_copy(update={"metrics": metrics}), file.parent)
    kept = final(finished, ADALORA).read_bytes()
    done = finished.snakemake("records")
    assert done.code == 0, done.out
    assert trained(done.jobs) == {"group_cola_1": 1, "tuned": 1}
    now = read_record(final(finished, LORA))
    assert now.spec["recipe"]["learning_rate"] != chosen
    assert now.status == "ok"
    assert final(finished, ADALORA).read_bytes() == kept


def test_a_changed_space_runs_what_is_new(undisturbed: Project) -> None:
    """Each method has two trials, in one job, and gets a third one, in another."""
    new = {"trials_cola_2": 1, "trials_cola_4": 1, "group_cola_1": 1, "group_cola_2": 1, "tuned": 1}
    more = undisturbed.snakemake("-n", "records", config=("set=tuning.trials=3",))
    assert trained(more.jobs) == new
    study = RunOptions(study="tiny", workflow=undisturbed.workflow, results=undisturbed.folder / "results").load_study()
    rates = [trial.trial.values["learning_rate"] for trial in study.trials[LORA] if trial.trial]
    listed = f"set=tuning.trials=null; tuning.space.learning_rate={[*rates, 0.003]}"
    assert trained(undisturbed.snakemake("-n", "records", config=(listed,)).jobs) == new


def test_a_killed_run_goes_on(undisturbed: Project, tmp_path: Path, prepared_cache: Path) -> None:
    project = tuned_project(tmp_path / "killed", prepared_cache)
    run = subprocess.Popen(
        project.command("records"),
        cwd=project.folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while not trials(project, LORA) and not trials(project, ADALORA):
        assert run.poll() is None
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    done = project.snakemake("records", "--nolock")  # nothing has to be said about incomplete files
    assert done.code == 0, done.out
    assert results(project) == results(undisturbed)


def test_successive_halving(tmp_path: Path, prepared_cache: Path) -> None:
    project = tuned_project(tmp_path / "halving", prepared_cache)
    config = ("methods=lora", "set=tuning.halving=2; recipe.max_steps=4")
    done = project.snakemake("records", config=config)
    assert done.code == 0, done.out
    assert trained(done.jobs) == {"rungs_cola_1": 1, "trials_cola_1": 1, "group_cola_1": 1, "tuned": 1}
    records = [read_record(file) for file in trials(project, LORA)]
    stopped = [record.training.stopped_at_rung for record in records if record.training]
    assert sorted(stopped, key=str) == [1, None]
    (went_on,) = [record for record in records if record.training and record.training.stopped_at_rung is None]
    chosen = read_record(final(project, LORA)).spec["recipe"]["learning_rate"]
    assert chosen == went_on.spec["recipe"]["learning_rate"]
    assert project.snakemake("-n", "records", config=config).nothing_to_do
