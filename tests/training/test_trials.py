"""A trial is scored on the rows that it holds out, sees nothing of the evaluation splits and keeps no adapter."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from helpers.small_cells import Lab, Moment, outcome, record_of, run_out_of_memory

from bench.config.cell import Cell, Trial
from bench.config.tuning import HELD_OUT
from bench.errors import EXIT_BAD_INPUT, EXIT_TRY_AGAIN
from bench.evaluation.metrics import score
from bench.inputs.cache_keys import data_folder
from bench.inputs.datasets import open_data
from bench.records.io import read_curve

HELD = 12


def _cell(lab: Lab, method: str = "adalora", *, selection: str = "last", **recipe: Any) -> Cell:
    cell = lab.cell(method, rows=60, holdout_rows=HELD, **recipe)
    return lab.prepare(cell.model_copy(update={"selection": selection}))


def _trial(lab: Lab, method: str = "adalora", *, selection: str = "last", **recipe: Any) -> Cell:
    trial = Trial(point="1f0c22ab", values={"learning_rate": 5e-3})
    return _cell(lab, method, selection=selection, **recipe).model_copy(update={"trial": trial})


def _evaluation_file(lab: Lab, cell: Cell) -> Path:
    return data_folder(cell.task, cell.backbone, cell.data, None, lab.cache) / "validation.arrow"


@pytest.mark.parametrize("method", ["lora", "adalora", "full"])
def test_trained_as_a_cell_that_holds_out_rows(lab: Lab, tmp_path: Path, method: str) -> None:
    cell, trial = _cell(lab, method), _trial(lab, method)
    assert lab.train(cell, tmp_path / "cell", every=None) == 0
    assert lab.train(trial, tmp_path / "trial", every=None) == 0
    expected, found = record_of(tmp_path / "cell"), record_of(tmp_path / "trial")
    assert (tmp_path / "trial" / "curve.jsonl").read_bytes() == (tmp_path / "cell" / "curve.jsonl").read_bytes()
    assert found.parameters == expected.parameters
    assert found.bytes is not None
    assert expected.bytes is not None
    assert found.bytes.adapter_file == expected.bytes.adapter_file
    assert (found.kind, expected.kind) == ("trial", "training")
    assert found.cell.hash != expected.cell.hash

    assert sorted(file.name for file in (tmp_path / "trial").iterdir()) == [
        "curve.jsonl",
        "predictions.parquet",
        "record.json",
    ]
    assert not list((lab.cache / "checkpoints").iterdir())


@pytest.mark.parametrize("kind", ["classification", "summarization"])
@pytest.mark.parametrize("selection", ["last", "best"])
def test_scored_on_held_out_rows_alone(lab: Lab, summaries: Lab, tmp_path: Path, kind: str, selection: str) -> None:
    place = lab if kind == "classification" else summaries
    trial = _trial(place, "lora", selection=selection)
    assert place.train(trial, tmp_path / "out", every=None) == 0
    record = record_of(tmp_path / "out")
    assert list(record.metrics) == list(record.loss) == [HELD_OUT]
    assert record.reported is not None
    assert record.reported.split == HELD_OUT
    table = pd.read_parquet(tmp_path / "out" / "predictions.parquet")
    assert set(table["split"]) == {HELD_OUT}
    rows = open_data(_evaluation_file(place, trial).parent).train.rows
    assert table["row"].tolist() == rows[::5]  # of 60 rows, evenly spread
    if kind == "summarization":
        return
    again = score(trial.task, table["prediction"].tolist(), table["reference"].tolist())
    assert record.metrics[HELD_OUT][selection] == pytest.approx(again)
    assert record.reported.value == again[trial.task.metric]


def test_nothing_of_an_evaluation_split_is_read(lab: Lab, tmp_path: Path) -> None:
    """The same bits with an evaluation split that is garbage, and with one that is gone; a cell refuses it.

    Where the scores of epochs are asked for, they are of held-out rows.
    """
    trial, cell = _trial(lab, score_epochs=True), _cell(lab)
    assert lab.train(trial, tmp_path / "clean" / "out", before=_forbid_to_open_evaluation) == 0
    scores = [line["scores"] for line in read_curve(tmp_path / "clean" / "out" / "curve.jsonl") if "scores" in line]
    assert [list(splits) for splits in scores] == [[HELD_OUT]] * 3
    file = _evaluation_file(lab, trial)
    file.write_bytes(b"\0" * 1000)
    assert lab.train(trial, tmp_path / "poisoned" / "out") == 0
    assert lab.train(cell, tmp_path / "refused" / "out") == EXIT_BAD_INPUT
    assert "is not what was prepared" in (tmp_path / "refused" / "log.txt").read_text()
    file.unlink()
    assert lab.train(trial, tmp_path / "gone" / "out") == 0
    assert outcome(tmp_path / "poisoned" / "out") == outcome(tmp_path / "clean" / "out")
    assert outcome(tmp_path / "gone" / "out") == outcome(tmp_path / "clean" / "out")


def test_the_watch_over_evaluation_splits_sees_a_cell_open_them(lab: Lab, tmp_path: Path) -> None:
    assert lab.train(_cell(lab), tmp_path / "out", before=_forbid_to_open_evaluation) == 0
    assert record_of(tmp_path / "out").message == "RuntimeError: an evaluation split was opened"


@pytest.mark.parametrize("moment", [Moment("step", 7), Moment("evaluation", 1), Moment("record", 1)])
def test_interrupted(lab: Lab, tmp_path: Path, undisturbed: Callable[..., Any], moment: Moment) -> None:
    trial = _trial(lab)
    code = lab.train(trial, tmp_path / "out", moment)
    assert code == (0 if moment.place == "record" else EXIT_TRY_AGAIN)
    assert lab.train(trial, tmp_path / "out") == 0
    assert outcome(tmp_path / "out") == undisturbed(lab, trial)


def test_in_two_processes(lab: Lab, tmp_path: Path) -> None:
    trial = _trial(lab, processes=2)
    assert lab.train_together(trial, tmp_path / "out", every=None) == [0, 0]
    record = record_of(tmp_path / "out")
    assert (record.status, record.kind, list(record.metrics)) == ("ok", "trial", [HELD_OUT])
    assert not (tmp_path / "out" / "adapter").exists()


def test_diverged(lab: Lab, tmp_path: Path) -> None:
    trial = _trial(lab, learning_rate=1e37, gradient_clip=None)
    assert lab.train(trial, tmp_path / "out") == 0
    record = record_of(tmp_path / "out")
    assert (record.status, record.kind, record.reported) == ("diverged", "trial", None)


def test_out_of_memory(lab: Lab, tmp_path: Path) -> None:
    assert lab.train(_trial(lab), tmp_path / "out", before=run_out_of_memory) == 0
    record = record_of(tmp_path / "out")
    assert (record.status, record.kind, record.reported) == ("oom", "trial", None)


def _forbid_to_open_evaluation() -> None:
    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and str(arguments[0]).endswith("validation.arrow"):
            raise RuntimeError("an evaluation split was opened")

    sys.addaudithook(watch)
