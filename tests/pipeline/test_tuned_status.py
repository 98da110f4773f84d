"""`bench status`, and the words at the end of a run, of a study that tunes."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.records import make_record
from helpers.trials import tuned_study, write_trial

from bench.config.resolve import ResolvedStudy
from bench.paths import StudyPaths
from bench.pipeline.failures import report_failures
from bench.pipeline.run_options import RunOptions
from bench.pipeline.slurm_jobs import jobs_of_cells
from bench.pipeline.status import cell_states, report_unscored, set_failures_aside, summary
from bench.pipeline.study import Pipeline
from bench.records.io import write_record
from bench.tuning.choose import with_choices

GROUP = "cola/lora/small"


@pytest.fixture
def study() -> ResolvedStudy:
    """One group: four trials and one final cell."""
    whole = tuned_study()
    return replace(
        whole,
        cells=tuple(cell for cell in whole.cells if cell.group == GROUP),
        trials={GROUP: whole.trials[GROUP]},
    )


def told(study: ResolvedStudy, results: Path) -> str:
    return summary(cell_states(study, results))


def write_final(study: ResolvedStudy, results: Path) -> None:
    """Write the record of the final cell with the choice that its trials make now."""
    cell = with_choices(study, results).cells[0]
    write_record(make_record(cell, {"validation": {"mcc": 0.5}}), StudyPaths(results, study.name).cell(cell.id).folder)


def test_a_final_cell_waits_until_all_of_its_trials_are_recorded(study: ResolvedStudy, tmp_path: Path) -> None:
    paths, trials = StudyPaths(tmp_path, study.name), study.trials[GROUP]
    assert told(study, tmp_path) == "4 trials: 4 missing; 1 cells: 1 waiting"
    for number, trial in enumerate(trials):
        write_trial(paths, trial, 0.1 * number)
    assert told(study, tmp_path) == "4 trials: 4 ok; 1 cells: 1 missing"
    write_final(study, tmp_path)
    assert told(study, tmp_path) == "4 trials: 4 ok; 1 cells: 1 ok"
    paths.cell(trials[0].id).record.unlink()
    assert told(study, tmp_path) == "4 trials: 1 missing, 3 ok; 1 cells: 1 waiting"
    assert "trained again only if the choice changes" in cell_states(study, tmp_path)[-1].detail
    write_trial(paths, trials[0], 0.9)  # another choice
    assert told(study, tmp_path) == "4 trials: 4 ok; 1 cells: 1 outdated"
    paths.cell(trials[1].id).record.write_text("{")
    assert told(study, tmp_path) == "4 trials: 3 ok, 1 unreadable; 1 cells: 1 waiting"


def test_trials_without_a_score(study: ResolvedStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths, trials = StudyPaths(tmp_path, study.name), study.trials[GROUP]
    for trial, status in zip(trials, ("ok", "diverged", "oom", "ok"), strict=True):
        write_trial(paths, trial, 0.5 if status == "ok" else None, status=status)
    write_final(study, tmp_path)
    assert told(study, tmp_path) == "4 trials: 1 diverged, 2 ok, 1 oom; 1 cells: 1 ok"
    report_unscored(Pipeline(study, study.cells, RunOptions(study=study.name, results=tmp_path)))
    assert capsys.readouterr().err == (
        "2 of 4 trials ended without a score, so their points count as the worst: "
        f"{trials[1].id} (diverged), {trials[2].id} (oom)\n"
    )
    renamed = set_failures_aside(cell_states(study, tmp_path), paths)
    assert [file.parent for file in renamed] == [paths.cell(trials[2].id).folder]


def test_a_rung_that_failed_is_told_with_its_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = tuned_study(tuning="halving: 2")
    pipeline = Pipeline(study, study.cells, RunOptions(study=study.name, results=tmp_path))
    first, second = study.trials[GROUP][:2]
    paths = pipeline.paths
    for file in map(Path, pipeline.manifests):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    for trial in (first, second):
        log = paths.rung_log(trial.id, 1)
        log.parent.mkdir(parents=True)
        log.write_text("error: the node is on fire\n")
    paths.cell(second.id).folder.mkdir(parents=True)
    paths.cell(second.id).rung(1).touch()  # it waits for the first at the rung
    report_failures(pipeline)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"{first.id}: the node is on fire (whole log: {paths.rung_log(first.id, 1)})"
    assert lines[1].startswith("1 of 32 trials and 0 of 8 cells failed; ")
    started = {state.cell.id: state for state in cell_states(study, tmp_path) if state.name == "started"}
    assert set(started) == {first.id, second.id}
    assert str(paths.rung_log(first.id, 1)) in started[first.id].detail


def test_jobs_of_trials_and_of_groups_of_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grouped = tuned_study("learning_rate: [0.001, 0.002, 0.004, 0.008]", "cells_per_job=3", tuning="halving: 2")
    trials = grouped.trials[GROUP]
    comments = [f"rule_trial_cola_wildcards_lora_small_{trials[0].trial.point}_100" if trials[0].trial else ""]
    comments += ["rule_rungs_cola_2_wildcards_2"]  # the fourth trial of the first group
    tool = tmp_path / "bin" / "squeue"
    tool.parent.mkdir()
    lines = "\n".join(f"{n}|RUNNING|node1|a|b|None|{text}|{tmp_path}" for n, text in enumerate(comments))
    tool.write_text(f"#!/bin/sh\ncat <<'END'\n{lines}\nEND\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent), prepend=os.pathsep)
    jobs = jobs_of_cells(grouped, tmp_path)
    assert {name: job.id for name, job in jobs.items()} == {trials[0].id: "0", trials[3].id: "1"}
