"""A recorded cell that is trained again on the same machine gives the same bits, from its record alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.reproductions import Archive, contents
from helpers.small_cells import record_of

from bench.config.catalog import WORKFLOW, load_catalog
from bench.config.cell import Choice, GivenRanks, Halving, Trial
from bench.errors import EXIT_TRY_AGAIN
from bench.records.io import write_record
from bench.records.rung import read_rung
from bench.records.schema import Record, result_of


def test_a_cell_of_its_record_alone(archive: Archive, capsys: pytest.CaptureFixture) -> None:
    """No YAML file is read, tuned values are those of the record, and what was recorded stays as it is."""
    choice = Choice(values={"learning_rate": 4e-3}, by="loss", score=0.5, trials={"t": "h"})
    cell = archive.lab.cell("adalora", learning_rate=4e-3).model_copy(update={"choice": choice})
    folder = archive.record(cell)
    before = contents(archive.results)
    code, found = archive.reproduced(folder / "record.json", "--workflow", str(archive.results / "nowhere"))
    printed = capsys.readouterr()
    assert code == 0, printed.err
    assert contents(archive.results) == before
    (entry,) = found["cells"]
    again = Path(entry["folder"])
    assert again.is_relative_to(archive.out / "reproductions" / "test" / cell.id)
    assert result_of(record_of(again)) == result_of(record_of(folder))
    assert entry["comparison"] | {"spread": None} == {
        "outcome": "same",
        "recorded": record_of(folder).reported.value,  # type: ignore[union-attr]
        "repeated": record_of(folder).reported.value,  # type: ignore[union-attr]
        "difference": 0.0,
        "spread": None,
        "fields": [],
        "files": [],
        "curve": None,
        "predictions": None,
        "missing": [],
    }
    assert "same bits: scores, loss curve, predictions and trained weights are those of the record" in printed.out
    assert not list((archive.lab.cache / "checkpoints").iterdir())


def test_each_repetition_is_a_training_of_its_own(archive: Archive) -> None:
    folder = archive.record(archive.lab.cell("lora", epochs=1, rank_schedule=None))
    places = [archive.reproduced(folder)[1]["cells"][0]["folder"] for _ in range(2)]
    assert [Path(place).name for place in places] == ["run-1", "run-2"]
    assert contents(Path(places[0])).keys() == contents(Path(places[1])).keys()


def test_ranks_that_were_given_are_in_the_record(archive: Archive) -> None:
    """A cell that holds another one's ranks does not need that one."""
    learned = archive.record(archive.lab.cell("adalora"))
    ranks = {name: site.end for name, site in record_of(learned).ranks.items()}
    assert len(set(ranks.values())) > 1
    method = load_catalog(WORKFLOW).methods["replayed"].item
    given = GivenRanks(cell="elsewhere", hash="h", ranks=ranks)
    cell = archive.lab.cell("adalora").model_copy(update={"method": method, "given": given})
    code, found = archive.reproduced(archive.record(cell))
    assert code == 0, found
    again = record_of(Path(found["cells"][0]["folder"]))
    assert {name: site.end for name, site in again.ranks.items()} == ranks


@pytest.mark.parametrize("stopped_at", [None, 1])
def test_a_trial_under_successive_halving(archive: Archive, stopped_at: int | None) -> None:
    """It is scored at the same rungs again, and stopped where it was: its rivals need not be there."""
    lab = archive.lab
    trial = Trial(
        point="p0",
        values={"learning_rate": 5e-3},
        choose_by="loss",
        halving=Halving(rungs=[0.25, 0.5], factor=2, rivals="r"),
    )
    cell = lab.prepare(lab.cell("lora", rows=60, holdout_rows=12)).model_copy(update={"trial": trial})
    folder = archive.folder(cell)
    for rung in [1] if stopped_at else [1, 2, None]:
        assert lab.train(cell, folder, every=None, rung=rung) == 0
    if stopped_at:
        rung_file = read_rung(folder / "rung-1.json")
        assert rung_file is not None
        write_record(Record.model_validate(rung_file.record), folder)
    code, found = archive.reproduced(folder)
    assert code == 0, found
    again = record_of(Path(found["cells"][0]["folder"]))
    assert again.rungs == record_of(folder).rungs
    assert len(again.rungs) == (stopped_at or 2)
    assert again.training is not None
    assert again.training.stopped_at_rung == stopped_at


def test_a_loss_that_diverges_diverges_again(archive: Archive) -> None:
    folder = archive.record(archive.lab.cell("lora", learning_rate=1e37, gradient_clip=None))
    assert record_of(folder).status == "diverged"
    code, found = archive.reproduced(folder)
    assert code == 0, found
    assert found["cells"][0]["comparison"]["recorded"] is None


@pytest.mark.long
def test_a_cell_in_two_processes(archive: Archive) -> None:
    """It is trained in two processes again, which the command starts."""
    cell = archive.lab.prepare(archive.lab.cell("adalora", processes=2))
    assert archive.lab.train_together(cell, archive.folder(cell), every=None) == [0, 0]
    code, found = archive.reproduced(archive.folder(cell))
    assert code == 0, found
    assert record_of(Path(found["cells"][0]["folder"])).spec["recipe"]["processes"] == 2


@pytest.mark.long
def test_an_interrupted_repetition_goes_on(archive: Archive) -> None:
    """A signal to the command leaves a checkpoint; the same command trains the rest, to the same bits."""
    folder = archive.record(archive.lab.cell("lora", epochs=100, rank_schedule=None))
    words = ["reproduce", str(folder), "--results", str(archive.out), "--cache", str(archive.lab.cache)]
    process = subprocess.Popen([sys.executable, "-m", "bench.cli", *words], start_new_session=True)
    while not list((archive.lab.cache / "checkpoints").glob("*/curve.jsonl")):
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(120) == EXIT_TRY_AGAIN
    code, found = archive.reproduced(folder)
    assert code == 0, found
    (entry,) = found["cells"]
    assert Path(entry["folder"]).name == "run-1"
    assert any("was interrupted and went on at step" in note for note in entry["notes"])
