"""Results to which other users add what they alone can read: it is named, and nothing of it hides the rest."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.trials import tuned_study, write_trial

from bench.pipeline.failures import report_failures
from bench.pipeline.outdated_records import age_outdated_records
from bench.pipeline.run_options import RunOptions
from bench.pipeline.status import cell_states
from bench.pipeline.study import Pipeline
from bench.progress.follower import Follower

GROUP, NOBODY = "cola/lora/small", 65534


@pytest.fixture
def pipeline() -> Iterator[Pipeline]:
    """One group: four recorded trials, and a final cell without a record. Any user can enter the results."""
    whole = tuned_study()
    cells = tuple(cell for cell in whole.cells if cell.group == GROUP)
    study = replace(whole, cells=cells, trials={GROUP: whole.trials[GROUP]})
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        pipeline = Pipeline(study, cells, RunOptions(study=study.name, results=Path(name)))
        for number, trial in enumerate(pipeline.trials):
            write_trial(pipeline.paths, trial, 0.1 * number)
        yield pipeline


@contextmanager
def without(path: Path) -> Iterator[None]:
    """Inside, this process can't read `path`, as if it were another user's."""
    mode, user = path.stat().st_mode, os.geteuid()
    path.chmod(0)
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)
        path.chmod(mode)


def test_a_cell_whose_folder_cannot_be_entered(pipeline: Pipeline) -> None:
    first = pipeline.paths.cell(pipeline.trials[0].id)
    with without(first.folder):
        age_outdated_records(pipeline)
        states = cell_states(pipeline.study, pipeline.options.results)
        assert [state.name for state in states] == ["unreadable", "ok", "ok", "ok", "waiting"]
        assert "Permission denied" in states[0].detail
        stages = [cell.stage for cell in Follower(pipeline).poll().cells]
        assert stages == ["waiting", "done", "done", "done", "waiting"]


def test_a_file_of_a_cell_whose_folder_cannot_be_entered(pipeline: Pipeline) -> None:
    trial = pipeline.trials[0]
    adapter = pipeline.paths.cell(trial.id).adapter
    adapter.mkdir()
    write_trial(pipeline.paths, trial, 0.5, files={"adapter/adapter_config.json": "0" * 64})
    with without(adapter):
        state = cell_states(pipeline.study, pipeline.options.results)[0]
    assert (state.name, state.detail.endswith("Permission denied")) == ("damaged", True)


def test_a_log_that_cannot_be_read(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    trial = pipeline.trials[0]
    pipeline.paths.cell(trial.id).record.unlink()
    log = pipeline.paths.log(trial.id)
    log.parent.mkdir(parents=True)
    log.write_text("error: of another user\n")
    with without(log):
        state = cell_states(pipeline.study, pipeline.options.results)[0]
        stage = Follower(pipeline).poll().cells[0].stage
        report_failures(pipeline)
    assert (state.name, stage) == ("started", "waiting")
    assert state.detail.startswith("its log cannot be read: Permission denied")
    assert f"{trial.id}: its log cannot be read" in capsys.readouterr().err
