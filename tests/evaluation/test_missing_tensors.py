"""`bench evaluate` holds the tensors of a saved model against those that the model has."""

from __future__ import annotations

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


def test_the_head_of_the_pretraining_is_let_pass_and_named(
    world: World, copy: Callable[..., Path], tmp_path: Path
) -> None:
    folder = copy("checkpoint")
    change_tensors(folder, lambda tensors: tensors.update({"cls.predictions.bias": torch.ones(2)}))
    assert world.score(folder) == 0
    assert "cls.predictions.bias" in recorded(tmp_path)[0].notes[-1]


def test_a_cut_file_is_refused(world: World, copy: Callable[..., Path], capsys: pytest.CaptureFixture) -> None:
    folder = copy("checkpoint")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert world.score(folder) == 2
    assert_said(capsys, "does not load")
