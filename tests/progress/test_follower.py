"""Where a run is, found out from its files: records, leases, curves, logs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.records import SHARED, make_record
from helpers.trials import tuned_study, write_trial

from bench.config.resolve import ResolvedStudy, load_study
from bench.errors import TransientError
from bench.pipeline.run_options import RunOptions
from bench.pipeline.study import Pipeline
from bench.progress.follower import Follower
from bench.progress.jobs import SnakemakeJobs
from bench.progress.state import CellProgress, Snapshot
from bench.records.io import write_record
from bench.training.signals import StopFlag
from bench.tuning.choose import with_choices
from bench.tuning.donors import with_known_ranks

CELL = "cola/adalora/small/seed-0"
HOLD = """\
import sys
from pathlib import Path
from bench.lease import lease
with lease(Path(sys.argv[1])):
    print(flush=True)
    input()
"""


def pipeline_of(study: ResolvedStudy, results: Path) -> Pipeline:
    return Pipeline(study, study.cells, RunOptions(study=study.name, results=results))


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    """cola with LoRA and AdaLoRA, two budgets."""
    return pipeline_of(load_study("demo", [*SHARED, "tasks=[cola]", "methods=[lora, adalora]"]), tmp_path)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """A process that holds the lease of `folder`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    process.stdout.readline()
    try:
        yield
    finally:
        process.communicate("\n")


def write(pipeline: Pipeline, name: str, status: str = "ok") -> None:
    cell = next(cell for cell in pipeline.cells if cell.id == name)
    record = make_record(cell, {"validation": {"mcc": 0.512}} if status == "ok" else {}, status=status)
    write_record(record, pipeline.paths.cell(name).folder)


def of(snapshot: Snapshot, name: str) -> CellProgress:
    return next(cell for cell in snapshot.cells if cell.id == name)


def test_records_say_what_is_done_and_what_failed(pipeline: Pipeline) -> None:
    follower = Follower(pipeline)
    assert {cell.stage for cell in follower.poll().cells} == {"waiting"}
    write(pipeline, CELL)
    write(pipeline, "cola/lora/small/seed-0", status="diverged")
    snapshot = follower.poll()
    done, failed = of(snapshot, CELL), of(snapshot, "cola/lora/small/seed-0")
    assert (done.stage, done.result) == ("done", "mcc 0.512")
    assert done.seconds is not None
    assert (failed.stage, failed.message) == ("failed", "diverged: no luck")
    assert failed.log == str(pipeline.paths.log(failed.id))
    assert not snapshot.complete


def test_a_record_of_another_spec_does_not_count(pipeline: Pipeline, tmp_path: Path) -> None:
    write(pipeline, CELL)
    other = pipeline_of(load_study("demo", [*SHARED, "tasks=[cola]", "recipe.learning_rate=1e-4"]), tmp_path)
    assert of(Follower(other).poll(), CELL).stage == "waiting"


def test_a_cell_that_is_trained_has_step_loss_and_ranks(pipeline: Pipeline) -> None:
    paths, follower = pipeline.paths.cell(CELL), Follower(pipeline)
    checkpoints = pipeline.cache.checkpoints("identity", paths.folder)
    with held(paths.folder):
        assert of(follower.poll(), CELL).stage == "starting"
        checkpoints.mkdir(parents=True)
        curve = checkpoints / "curve.jsonl"
        curve.write_text(json.dumps({"step": 1, "loss": 0.7, "live_ranks": [4, 4, 4]}) + "\n" + '{"step": 2, "lo')
        running = of(follower.poll(), CELL)
        assert (running.stage, running.step, running.steps, running.loss) == ("running", 1, 40, 0.7)
        assert (running.ranks, running.cap) == (12, 6)
        with curve.open("a") as stream:
            stream.write('ss": 0.6}\n' + json.dumps({"step": 3, "loss": None, "live_ranks": [4, 0, 4]}) + "\n")
        running = of(follower.poll(), CELL)
        assert (running.step, running.loss, running.ranks) == (3, None, 8)
    assert of(follower.poll(), CELL).stage == "waiting"


def test_the_time_left_comes_from_cells_that_are_done(pipeline: Pipeline) -> None:
    follower = Follower(pipeline)
    with held(pipeline.paths.cell(CELL).folder):
        assert follower.poll().left is None
        write(pipeline, "cola/lora/small/seed-0")
        took = of(follower.poll(), "cola/lora/small/seed-0").seconds
        snapshot = follower.poll()
    assert took is not None
    assert snapshot.left == pytest.approx(3 * took, rel=0.2)  # one runs, two wait, all alike
    assert snapshot.unknown == 0


def test_the_time_between_two_attempts_is_none_of_the_steps(pipeline: Pipeline) -> None:
    """Of a picture that stays open from Ctrl-C to the next run."""
    paths, follower = pipeline.paths.cell(CELL), Follower(pipeline)
    checkpoints = pipeline.cache.checkpoints("identity", paths.folder)
    checkpoints.mkdir(parents=True)
    curve, left = checkpoints / "curve.jsonl", []
    for start in (0.0, 86400.0):
        with held(paths.folder):
            follower.poll()
            for step in (1, 2):
                with curve.open("a") as stream:
                    stream.write(json.dumps({"step": step + (2 if start else 0), "loss": 0.5}) + "\n")
                os.utime(curve, (1e9 + start + step, 1e9 + start + step))
                left.append(of(follower.poll(), CELL).left)
        follower.poll()
    assert left == [None, pytest.approx(38, abs=3), None, pytest.approx(36, abs=3)]


@pytest.fixture
def tuned(tmp_path: Path) -> Pipeline:
    """One group: four trials and one final cell, none of them recorded."""
    whole, group = tuned_study(), "cola/lora/small"
    cells = tuple(cell for cell in whole.cells if cell.group == group)
    return pipeline_of(replace(whole, cells=cells, trials={group: whole.trials[group]}), tmp_path)


def test_a_final_cell_counts_once_its_trials_are_recorded(tuned: Pipeline) -> None:
    """With the values that they choose: a record with others is trained again."""
    follower = Follower(tuned)
    for number, trial in enumerate(tuned.trials):
        assert [cell.stage for cell in follower.poll().final_cells] == ["waiting"]
        write_trial(tuned.paths, trial, 0.1 * number)
    cell = with_choices(tuned.study, tuned.options.results).cells[0]
    write_record(make_record(cell, {"validation": {"mcc": 0.5}}), tuned.paths.cell(cell.id).folder)
    snapshot = follower.poll()
    assert [cell.stage for cell in snapshot.final_cells] == ["done"]
    assert {cell.stage for cell in snapshot.trials} == {"done"}
    write_trial(tuned.paths, tuned.trials[0], 0.9)  # another choice
    for each in (follower, Follower(tuned)):
        assert [cell.stage for cell in each.poll().cells] == 4 * ["done"] + ["waiting"]
    assert not each.poll().complete


def test_a_cell_with_the_ranks_of_another_counts_while_these_are_the_same(tmp_path: Path) -> None:
    study = load_study("demo", [*SHARED, "tasks=[cola]", "methods=[adalora_parameters, replayed]", "seeds=[0]"])
    budget = study.cells[0].budget_name
    study = replace(study, cells=tuple(cell for cell in study.cells if cell.budget_name == budget))
    pipeline = pipeline_of(study, tmp_path)
    donor, taker = study.cells
    follower = Follower(pipeline)
    record = make_record(donor, {"validation": {"mcc": 0.5}})
    write_record(record, pipeline.paths.cell(donor.id).folder)
    given = with_known_ranks(study, tmp_path).cells[1]
    write_record(make_record(given, {"validation": {"mcc": 0.5}}), pipeline.paths.cell(taker.id).folder)
    assert [cell.stage for cell in follower.poll().cells] == ["done", "done"]
    ranks = {name: site.model_copy(update={"end": site.end + 1}) for name, site in record.ranks.items()}
    write_record(record.model_copy(update={"ranks": ranks}), pipeline.paths.cell(donor.id).folder)
    assert [cell.stage for cell in Follower(pipeline).poll().cells] == ["done", "waiting"]
    pipeline.paths.cell(donor.id).record.unlink()
    assert [cell.stage for cell in follower.poll().cells] == ["waiting", "waiting"]


def test_who_prepares_what_the_study_reads_is_told_until_it_is_gone(pipeline: Pipeline) -> None:
    """The lease of a preparation that was killed stays, and one of another study says nothing of this one."""
    follower, name = Follower(pipeline), next(iter(pipeline.data))
    folder = pipeline.cache.preparing(name)
    with held(pipeline.cache.preparing("other-0123456789ab")):
        assert follower.poll().doing == ()
    with held(folder):
        assert follower.poll().doing == (f"preparing {name}",)
        lease = (folder / ".lease").read_bytes()
    (folder / ".lease").write_bytes(lease)
    assert follower.poll().doing == ()


def test_an_attempt_that_was_asked_to_stop_is_no_failure(pipeline: Pipeline) -> None:
    log, flag = pipeline.paths.log(CELL), StopFlag()
    flag.set(signal.SIGINT, None)
    with pytest.raises(TransientError) as stopped:
        flag.check("after step 3")
    log.parent.mkdir(parents=True)
    log.write_text(f"2026-01-01 INFO: begins\nerror: {stopped.value}\n")
    assert of(Follower(pipeline).poll(), CELL).stage == "waiting"


def test_who_is_told_of_failures_reads_no_old_log(pipeline: Pipeline) -> None:
    log = pipeline.paths.log(CELL)
    log.parent.mkdir(parents=True)
    log.write_text("2026-01-01 INFO: begins\nerror: out of disk\nand more\n")
    jobs = SnakemakeJobs(pipeline)
    told, alone = Follower(pipeline, jobs), Follower(pipeline)
    assert of(told.poll(), CELL).stage == "waiting"
    assert of(alone.poll(), CELL).message == "out of disk"
    output = f"{pipeline.paths.cell(CELL).record.as_posix()} (update)"
    jobs.started(7, [output], "", here=True)
    assert of(told.poll(), CELL).stage == "starting"
    jobs.failed(7, [str(log)])
    assert (of(told.poll(), CELL).stage, of(told.poll(), CELL).log) == ("failed", str(log))
    jobs.started(7, [output], "", here=True)  # another attempt
    assert of(told.poll(), CELL).stage == "starting"
    log.write_text("2026-01-01 INFO: begins again\n")
    assert of(alone.poll(), CELL).stage == "waiting"


def test_of_cells_that_share_a_job_the_first_one_starts(pipeline: Pipeline) -> None:
    jobs = SnakemakeJobs(pipeline)
    outputs = [pipeline.paths.cell(cell.id).record.as_posix() for cell in pipeline.cells]
    jobs.started(1, outputs, "", here=True)
    follower = Follower(pipeline, jobs)
    first, second = (cell.id for cell in pipeline.cells[:2])
    assert [cell.id for cell in follower.poll().cells if cell.stage == "starting"] == [first]
    write(pipeline, first)
    assert [cell.id for cell in follower.poll().cells if cell.stage == "starting"] == [second]
    jobs.ended(1)
    assert [cell.id for cell in follower.poll().cells if cell.stage == "starting"] == []
