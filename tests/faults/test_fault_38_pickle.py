"""Fault 38: a pickle, or a name that leads elsewhere, is never followed: not in a model, a checkpoint, a data set."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small import Lab, outcome, record_of
from spoiling import killed

from bench.errors import BenchError
from bench.prepare.models import prepare_backbone


class Bomb:
    """Unpickled, it leaves a file behind."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.canary,))


def test_a_pickled_model_is_refused(lab: Lab, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for file in lab.model.iterdir():
        if file.suffix != ".safetensors":
            (model / file.name).write_bytes(file.read_bytes())
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "canary")))
    cell = replace(lab, model=model).cell("lora")
    with pytest.raises(BenchError, match=r"no config\.json and safetensors weights"):
        prepare_backbone(cell.backbone, mirror=None, cache=lab.cache)
    assert not (tmp_path / "canary").exists()


def test_a_pickle_in_place_of_a_checkpoint(lab: Lab, tmp_path: Path, undisturbed: Callable[..., Any]) -> None:
    """Even with the right hash in its manifest."""
    import hashlib
    import json

    cell, (_, newest) = killed(lab, tmp_path / "out")
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
    cell, (older, newest) = killed(lab, tmp_path / "out")
    newest.rename(tmp_path / "elsewhere")
    newest.symlink_to(tmp_path / "elsewhere")
    assert lab.train(cell, tmp_path / "out") == 0
    training = record_of(tmp_path / "out").training
    assert training is not None
    assert training.resumed_at == (int(older.name[5:]),)
    assert (tmp_path / "elsewhere" / "state.json").is_file()
