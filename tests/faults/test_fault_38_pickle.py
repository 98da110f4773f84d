"""Fault 38: a pickle, or a name that leads elsewhere, is never followed: not in a model, a checkpoint, a data set."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.killed_training import killed_after_step_7
from helpers.small_cells import Lab, outcome, record_of

from bench.errors import BenchError
from bench.inputs.backbones import prepare_backbone


class Bomb:
    """Unpickled, it leaves a file behind."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.canary,))


def test_a_pickled_model_that_is_more_than_tensors_is_refused(lab: Lab, tmp_path: Path) -> None:
    """Its tensors alone would be converted; one that would run something is refused, in either form of the file."""
    import torch

    model = tmp_path / "model"
    model.mkdir()
    for file in lab.model.iterdir():
        if file.suffix != ".safetensors":
            (model / file.name).write_bytes(file.read_bytes())
    cell = replace(lab, model=model).cell("lora")
    bomb = {"weight": torch.zeros(2), "bomb": Bomb(tmp_path / "canary")}
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(bomb, protocol=2))
    with pytest.raises(BenchError, match=r"pytorch_model\.bin: no safetensors weights, .* refused.*UnpicklingError"):
        prepare_backbone(cell.backbone, mirror=None, cache=lab.cache)
    torch.save(bomb, model / "pytorch_model.bin")
    with pytest.raises(BenchError, match=r"pytorch_model\.bin: no safetensors weights, .* refused.*UnpicklingError"):
        prepare_backbone(cell.backbone, mirror=None, cache=lab.cache)
    assert not (tmp_path / "canary").exists()
    assert not list((lab.cache / "models").glob("small-*"))


def test_a_pickle_in_place_of_a_checkpoint(lab: Lab, tmp_path: Path, undisturbed: Callable[..., Any]) -> None:
    """Even with the right hash in its manifest."""
    import hashlib
    import json

    cell, (_, newest) = killed_after_step_7(lab, tmp_path / "out")
    bomb = pickle.dumps(Bomb(tmp_path / "canary"))
    (newest / "state.safetensors").write_bytes(bomb)
    manifest = json.loads((newest / "manifest.json").read_text())
    manifest["sha256"]["state.safetensors"] = hashlib.sha256(bomb).hexdigest()
    manifest["sha256"]["../../../../canary"] = "0" * 64
    (newest / "manifest.json").write_text(json.dumps(manifest))
    assert lab.train(cell, tmp_path / "out") == 0
    assert not (tmp_path / "canary").exists()
    training = record_of(tmp_path / "out").training
    assert training is not None
    assert training.resumed_at == (6,)
    assert outcome(tmp_path / "out") == undisturbed(lab, cell)


def test_a_link_out_of_the_folder_is_no_checkpoint(lab: Lab, tmp_path: Path) -> None:
    cell, (older, newest) = killed_after_step_7(lab, tmp_path / "out")
    newest.rename(tmp_path / "elsewhere")
    newest.symlink_to(tmp_path / "elsewhere")
    assert lab.train(cell, tmp_path / "out") == 0
    training = record_of(tmp_path / "out").training
    assert training is not None
    assert training.resumed_at == (int(older.name[5:]),)
    assert (tmp_path / "elsewhere" / "state.json").is_file()
