"""`bench evaluate` holds a saved model's own description against the task and the backbone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from helpers.saved_models import NAMES, ORDER, World, assert_said, change_tensors, named, recorded

from bench.cli.app import main
from bench.evaluation.evaluate import Evaluated, evaluate
from bench.records.io import read_record, write_record


@pytest.mark.parametrize("upper", [False, True])
def test_classes_are_matched_by_name(
    world: World, copy: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture, upper: bool
) -> None:
    """The same model with its outputs in another order: the same predictions, the same loss."""
    straight = copy("checkpoint")
    assert world.score(straight) == 0
    expected, rows = recorded(tmp_path)
    assert expected.evaluation["outputs"] is None
    assert rows["prediction"].nunique() > 1
    capsys.readouterr()

    names = [NAMES[k] for k in ORDER]
    turned = tmp_path / "turned" / "checkpoint"
    shutil.copytree(straight, turned)
    config = json.loads((turned / "config.json").read_text()) | named([n.upper() for n in names] if upper else names)
    (turned / "config.json").write_text(json.dumps(config))

    def turn(tensors: dict[str, torch.Tensor]) -> None:
        for name in ("classifier.weight", "classifier.bias"):
            tensors[name] = tensors[name][ORDER]

    change_tensors(turned, turn)
    assert world.score(turned) == 0
    found, again = recorded(turned.parent)
    assert found.metrics == expected.metrics
    assert found.loss == pytest.approx(expected.loss, rel=1e-6)
    assert found.evaluation["outputs"] == ORDER
    pd.testing.assert_frame_equal(rows, again)
    assert "output 2 is entailment" in capsys.readouterr().err
    assert "output 2 is entailment" in found.notes[0]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (named(["yes", "maybe", "no"]), "yes, maybe, no, but task 'mnli' has entailment, neutral, contradiction"),
        (named(["entailment", "not_entailment"]), "2 classes .entailment, not_entailment., but task 'mnli' has 3"),
        ({**named(NAMES), "label2id": dict(zip(NAMES[::-1], range(3), strict=True))}, "but label2id says 0: contra"),
        ({"id2label": {"0": "a", "2": "b", "3": "c"}}, "should name the outputs 0 to 2"),
        ({"id2label": {"x": "a"}}, "should map outputs to names"),
        ({"problem_type": "regression"}, "problem_type is 'regression', but task 'mnli' is classification"),
        ({"problem_type": "multi_label_classification"}, "problem_type is 'multi_label"),
        ({"model_type": "roberta"}, "type 'roberta', but backbone 'small' is 'bert'"),
        ({"num_hidden_layers": 3}, "16 tensors are missing: bert.encoder.layer.2"),
        ({"num_hidden_layers": 1}, "16 tensors are unknown to the model"),
        ({"intermediate_size": 16}, r"another shape.*\[32, 32\] \(expected \[16, 32\]\)"),
        ({"vocab_size": 8}, "ids up to .* has 8 embeddings"),
        ({"hidden_size": "x"}, "config.json: describes no model: .*hidden_size"),
        ({"hidden_size": float("inf")}, "no readable JSON"),
    ],
)
def test_a_checkpoint_that_contradicts_the_task_is_refused(
    world: World, copy: Callable[..., Path], capsys: pytest.CaptureFixture, config: dict[str, Any], message: str
) -> None:
    folder = copy("checkpoint", **config)
    assert world.score(folder) == 2
    assert_said(capsys, message)
    assert not (folder.parent / "out").exists()


def test_names_can_be_given(world: World, copy: Callable[..., Path], tmp_path: Path) -> None:
    """Classes called otherwise, and an order that nothing in the folder tells."""
    folder = copy("checkpoint", **named(["yes", "maybe", "no"]))
    assert world.score(folder, *[f"--label={NAMES[k]}" for k in ORDER]) == 0
    assert recorded(tmp_path)[0].evaluation["outputs"] == ORDER
    numbered = copy("adapter")
    assert world.score(numbered) == 0
    assert recorded(tmp_path)[0].evaluation["outputs"] is None


@pytest.mark.parametrize("names", [["LABEL_0", "LABEL_1", "LABEL_2"], ["0", "1", "2"]])
def test_numbers_are_positions(world: World, copy: Callable[..., Path], tmp_path: Path, names: list[str]) -> None:
    assert world.score(copy("checkpoint", **named(names))) == 0
    assert recorded(tmp_path)[0].evaluation["outputs"] is None


def test_a_regression_is_no_classifier(world: World, copy: Callable[..., Path], capsys: pytest.CaptureFixture) -> None:
    folder = copy("checkpoint", **named(NAMES))
    assert world.score(folder, task="stsb") == 2
    assert_said(capsys, "has 3 outputs .entailment, neutral, contradiction., but 'stsb' is regression")
    assert world.score(folder, "--label", "entailment", task="stsb") == 2
    assert_said(capsys, "--label names classes, but task 'stsb' is regression")


def test_the_record_beside_an_adapter_tells_its_classes(
    world: World, copy: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    adapter = copy("adapter")
    assert world.score(adapter) == 0
    shutil.copyfile(tmp_path / "out" / "record.json", tmp_path / "record.json")
    assert main(["evaluate", str(adapter), *world.places, "--out", str(tmp_path / "out")]) == 0
    assert not recorded(tmp_path)[0].notes
    record = read_record(tmp_path / "record.json")
    earlier = record.model_copy(update={"data": {**record.data, "fingerprint": "of rows without segment ids"}})
    write_record(earlier, tmp_path)
    assert main(["evaluate", str(adapter), *world.places, "--out", str(tmp_path / "out")]) == 0
    assert "read otherwise than those of the record" in recorded(tmp_path)[0].notes[0]

    assert world.score(adapter, task="mnli_turned") == 0
    assert recorded(tmp_path)[0].evaluation["outputs"] == ORDER
    assert world.score(adapter, task="cola") == 2
    assert_said(capsys, "by the record beside it, has 3 classes .* but task 'cola' has 2")


def test_what_the_evaluation_itself_notes_stays_in_the_record(
    world: World, copy: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a tokenizer of ROUGE drops much of the references."""

    def noted(*given: Any) -> Evaluated:
        found = evaluate(*given)
        found.notes.append("what it found")
        return found

    monkeypatch.setattr("bench.evaluation.saved.evaluate", noted)
    assert world.score(copy("checkpoint")) == 0
    assert "what it found" in recorded(tmp_path)[0].notes


def test_its_own_tokenizer_reads_the_rows(world: World, copy: Callable[..., Path], tmp_path: Path) -> None:
    """A checkpoint with its vocabulary in another order, as its tokenizer has it, scores the same."""
    assert world.score(copy("checkpoint")) == 0
    expected, rows = recorded(tmp_path)
    turned = tmp_path / "turned" / "checkpoint"
    shutil.copytree(tmp_path / "checkpoint", turned)
    tokenizer = json.loads((turned / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    words = [word for word in vocabulary if not word.startswith("[")]
    ids = sorted(vocabulary[word] for word in words)
    vocabulary.update(zip(words, ids[::-1], strict=True))
    (turned / "tokenizer.json").write_text(json.dumps(tokenizer))

    def turn(tensors: dict[str, torch.Tensor]) -> None:
        embedding = tensors["bert.embeddings.word_embeddings.weight"]
        embedding[ids] = embedding[ids[::-1]].clone()

    change_tensors(turned, turn)
    assert world.score(turned) == 0
    found, again = recorded(turned.parent)
    pd.testing.assert_frame_equal(rows, again)
    assert found.loss == pytest.approx(expected.loss, rel=1e-6)


def test_a_tokenizer_that_cannot_be_read_is_refused(
    world: World, copy: Callable[..., Path], capsys: pytest.CaptureFixture
) -> None:
    folder = copy("adapter")
    (folder / "tokenizer.json").write_text("{}")
    assert world.score(folder) == 2
    assert_said(capsys, "its tokenizer can't be read")


def test_without_a_tokenizer_the_backbones_is_used_and_said(
    world: World, copy: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = copy("checkpoint")
    for file in folder.glob("tokenizer*"):
        file.unlink()
    assert world.score(folder) == 0
    assert "no tokenizer in it, so that of backbone 'small' is used" in recorded(tmp_path)[0].notes[0]
    file = folder / "config.json"
    file.write_text(file.read_text().replace('"vocab_size": ', '"vocab_size": 9'))
    assert world.score(folder) == 2
    assert_said(capsys, "vocab_size is 9.* but backbone 'small', whose tokenizer would be used")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"base_model_name_or_path": "roberta-base"}, "trained on 'roberta-base', but backbone 'small'.*--any-base"),
        ({"task_type": "CAUSAL_LM"}, "task_type is 'CAUSAL_LM', but task 'mnli' .classification. needs 'SEQ_CLS'"),
        ({"peft_type": "NONESUCH"}, "does not load"),
        (
            {"target_modules": ["query", "key"]},
            "4 tensors are missing: .*self.key.lora_A.weight.* in the adapter",
        ),
        ({"r": 3}, "does not load .*size mismatch"),
        ({"bias": 5}, "does not load .*AttributeError"),
        ({"lora_alpha": float("inf")}, "no readable JSON"),
        ({"target_modules": ["nonesuch"]}, "does not load .*No modules were targeted"),
    ],
)
def test_an_adapter_that_contradicts_the_backbone_is_refused(
    world: World, copy: Callable[..., Path], capsys: pytest.CaptureFixture, config: dict[str, Any], message: str
) -> None:
    assert world.score(copy("adapter", **config)) == 2
    assert_said(capsys, message)


def test_the_same_base_by_another_name(world: World, copy: Callable[..., Path]) -> None:
    folder = copy("adapter", base_model_name_or_path="somebody/of-another-name")
    assert world.score(folder, "--any-base") == 0


@pytest.mark.parametrize("command", ["evaluate", "export"])
def test_a_place_that_is_no_folder_is_refused(
    world: World, copy: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture, command: str
) -> None:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "cell").mkdir()
    copy("adapter").rename(tmp_path / "cell" / "adapter")
    out = ["--out", str(tmp_path / "file" / "below")]
    if command == "evaluate":
        assert world.score(tmp_path / "cell", *out) == 2
    else:
        assert main(["export", str(tmp_path / "cell"), *out]) == 2
    assert_said(capsys, "--out=.*file/below: cannot be written")
