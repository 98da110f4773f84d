"""`bench evaluate`: what was saved gives the recorded predictions again, every row of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from helpers.small_cells import Lab, make_lab, record_of

from bench.cli.app import main
from bench.config.resolve import load_study
from bench.records.io import read_record, write_record


def _trained(lab: Lab, method: str, out: Path) -> Path:
    assert lab.train(lab.prepare(lab.cell(method)), out) == 0, (out.parent / "log.txt").read_text()
    return out


@pytest.mark.parametrize("method", ["lora", "qlora_adalora", "full"])
@pytest.mark.parametrize("kind", ["classification", "summarization"])
def test_a_saved_cell_gives_its_predictions_again(
    tmp_path: Path, kind: str, method: str, capsys: pytest.CaptureFixture
) -> None:
    lab = make_lab(tmp_path / "lab", kind)
    cell = _trained(lab, method, tmp_path / "study" / "cell")
    out = tmp_path / "out"
    assert main(["evaluate", str(cell), "--cache", str(lab.cache), "--out", str(out)]) == 0
    trained, again = record_of(cell), read_record(out / "record.json")
    assert again.kind == "evaluation"
    assert again.metrics == trained.metrics
    assert again.reported == trained.reported
    frames = [pd.read_parquet(folder / "predictions.parquet") for folder in (cell, out)]
    pd.testing.assert_frame_equal(*frames)
    if method == "full":
        assert main(["evaluate", str(cell), "--cache", str(lab.cache), "--out", str(out), "--storage", "nf4"]) == 2
        assert "leave out --storage nf4" in capsys.readouterr().err


@pytest.mark.long  # its base, a T5, is trained first
def test_labels_that_are_words_are_said_again(tmp_path: Path) -> None:
    """A sequence-to-sequence adapter, on a fresh base from its config: the same string for every validation row."""
    short = ["recipe.max_steps=6", "limits.train_rows=64", "limits.evaluation_rows=32"]
    cell = load_study("text-label", short).find("tweet_sentiment", "adalora", "small", 0)
    lab = Lab(tmp_path / "cache", Path(), "text-label")
    out = tmp_path / "study" / "cell"
    assert lab.train(lab.prepare(cell), out) == 0, (out.parent / "log.txt").read_text()
    assert main(["evaluate", str(out), "--cache", str(lab.cache), "--out", str(tmp_path / "out")]) == 0
    said, again = (pd.read_parquet(folder / "predictions.parquet") for folder in (out, tmp_path / "out"))
    assert said["prediction"].tolist() == again["prediction"].tolist()
    assert len(said) == 32
    assert read_record(tmp_path / "out" / "record.json").metrics == record_of(out).metrics


def test_cells_of_one_seed_leave_a_record_each(lab: Lab, tmp_path: Path) -> None:
    """Their folders are all called seed-0."""
    for method in ("lora", "adalora"):
        cell = _trained(lab, method, tmp_path / method / "seed-0")
        assert main(["evaluate", str(cell), "--cache", str(lab.cache), "--results", str(tmp_path)]) == 0
    for method in ("lora", "adalora"):
        record = read_record(tmp_path / "evaluations" / "test" / "cola" / method / "b" / "seed-0" / "record.json")
        assert record.cell.method == method


def test_the_record_of_a_training_is_not_written_over(lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    cell = _trained(lab, "lora", tmp_path / "study" / "cell")
    before = (cell / "record.json").read_bytes()
    assert main(["evaluate", str(cell), "--cache", str(lab.cache), "--out", str(cell)]) == 2
    assert "holds the record of a training" in capsys.readouterr().err
    assert (cell / "record.json").read_bytes() == before


def test_a_record_cannot_say_where_to_write(lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    cell = _trained(lab, "lora", tmp_path / "study" / "cell")
    record = record_of(cell)
    write_record(record.model_copy(update={"spec": {**record.spec, "budget_name": "../../../../away"}}), cell)
    assert main(["evaluate", str(cell), "--cache", str(lab.cache), "--results", str(tmp_path / "results")]) == 2
    assert "name --out" in capsys.readouterr().err
    assert not list(tmp_path.rglob("away"))


def test_an_adapter_alone_needs_a_task_and_a_backbone(lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    cell = _trained(lab, "lora", tmp_path / "study" / "cell")
    alone = tmp_path / "alone"
    shutil.copytree(cell / "adapter", alone)
    assert main(["evaluate", str(alone), "--cache", str(lab.cache)]) == 2
    assert "--task must be named" in capsys.readouterr().err
    assert main(["evaluate", str(alone), "--task", "colla", "--backbone", "minilm"]) == 2
    assert "did you mean 'cola'" in capsys.readouterr().err


def test_what_is_no_safe_checkpoint_is_refused(lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    cell = _trained(lab, "lora", tmp_path / "study" / "cell")
    assert main(["evaluate", str(tmp_path)]) == 2
    assert "expected adapter_config.json" in capsys.readouterr().err
    weights = cell / "adapter" / "adapter_model.safetensors"
    weights.rename(weights.with_suffix(".aside"))
    torch.save({"x": torch.zeros(1)}, cell / "adapter" / "adapter_model.bin")  # PEFT would unpickle it
    assert main(["evaluate", str(cell), "--cache", str(lab.cache)]) == 2
    assert "no safetensors weights" in capsys.readouterr().err
    weights.write_bytes(b"\x10" + b"\0" * 40)
    assert main(["evaluate", str(cell), "--cache", str(lab.cache)]) == 2
    assert "does not load" in capsys.readouterr().err
