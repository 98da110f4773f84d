"""`bench evaluate` holds the tensors of a saved model against those that the model has."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.saved_models import World, assert_said, change_tensors, recorded


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("layer.1.attention", "2 tensors are missing: .*layer.1.attention.self.query.lora_A.weight, .*lora_B"),
        ("classifier", "1 tensor is missing: base_model.model.classifier.weight"),
        ("pooler.dense.bias", "1 tensor is missing: base_model.model.bert.pooler.dense.bias"),
    ],
)
def test_an_adapter_that_lost_tensors_is_refused(
    world: World, copy: Callable[..., Path], capsys: pytest.CaptureFixture, lost: str, message: str
) -> None:
    folder = copy("adapter")
    change_tensors(folder, lambda tensors: [tensors.pop(name) for name in list(tensors) if lost in name])
    assert world.score(folder) == 2
    assert_said(capsys, message)


def test_a_head_that_nobody_saved_is_refused(
    world: World, copy: Callable[..., Path], capsys: pytest.CaptureFixture
) -> None:
    """An adapter of no task type, whose config asks for no head: the base's would be random."""
    folder = copy("adapter", task_type=None, modules_to_save=None)
    change_tensors(folder, lambda tensors: [tensors.pop(name) for name in list(tensors) if "lora_" not in name])
    assert world.score(folder) == 2
    assert_said(capsys, "neither the base nor the adapter has the head's weights")


def test_a_tensor_too_many_is_refused(world: World, copy: Callable[..., Path], capsys: pytest.CaptureFixture) -> None:
    folder = copy("adapter")
    change_tensors(folder, lambda tensors: tensors.update({"base_model.model.bert.extra.lora_A.weight": torch.ones(2)}))
    assert world.score(folder) == 2
    assert_said(capsys, "1 tensor is unknown to the adapter")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("cls.predictions.bias", 0),  # the head of the pretraining
        ("bert.embeddings.position_ids", 0),
        ("bert.encoder.version", 0),
        ("bert.encoder.layer.2.output.dense.weight", 2),
        ("bert.encoder.layer.1.output.adapter.weight", 2),
        ("bert.encoder.layer.1.attention.self.query.lora_A", 2),
    ],
)
def test_a_checkpoint_with_more_tensors(
    world: World, copy: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture, name: str, code: int
) -> None:
    """What the model is right to leave out is named; what would have changed its outputs is refused."""
    folder = copy("checkpoint")
    change_tensors(folder, lambda tensors: tensors.update({name: torch.ones(1)}))
    assert world.score(folder) == code
    if code:
        assert_said(capsys, f"1 tensor is unknown to the model of its config.json: {name}")
    else:
        notes = recorded(tmp_path)[0].notes
        assert not notes or name in notes[-1]


def test_a_backbone_that_lost_tensors_is_refused(
    world: World, copy: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """It would be trained, or scored with an adapter, with a layer of random values."""
    base = tmp_path / "broken"
    shutil.copytree(world.base, base)
    change_tensors(base, lambda tensors: tensors.pop("encoder.layer.1.output.dense.bias"))
    world.add_backbone("broken", base)
    assert world.score(copy("adapter"), "--backbone", "broken", "--any-base") == 2
    assert_said(capsys, "1 tensor is missing: bert.encoder.layer.1.output.dense.bias among its weights, and no `head`")


def test_a_cut_file_is_refused(world: World, copy: Callable[..., Path], capsys: pytest.CaptureFixture) -> None:
    folder = copy("checkpoint")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert world.score(folder) == 2
    assert_said(capsys, "does not load")
