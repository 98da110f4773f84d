"""The lines of a card, run as they stand there, load what predicts as it was recorded."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pandas as pd
import pytest
import torch
from helpers.hub_server import StandIn
from helpers.small_cells import Lab, record_of

from bench.config.cell import Cell
from bench.evaluation.evaluate import predict
from bench.files import write_atomic
from bench.inputs.backbones import prepare_backbone
from bench.inputs.cache_keys import data_folder
from bench.inputs.datasets import open_data
from bench.inputs.reader import load_tokenizer
from bench.publishing.cards.card import card
from bench.publishing.cards.loading import Place
from bench.publishing.cards.subjects import Subject, subject_at
from bench.training.done import inputs_of, recorded

COMMIT = "c" * 40
LINES = re.compile(r"```python\n(.*?)```", re.DOTALL)


def trained(lab: Lab, method: str, folder: Path) -> tuple[Subject, Path]:
    """A trained cell, and its prepared base."""
    cell = lab.prepare(lab.cell(method, learning_rate=2e-2))
    assert lab.train(cell, folder / "seed-0", every=None) == 0
    base = prepare_backbone(cell.backbone, mirror=None, cache=lab.cache)
    return subject_at(folder / "seed-0", cell, record_of(folder / "seed-0")), base


def run(text: str, base: Path | None = None) -> Any:
    """The model that the lines of a card leave."""
    (lines,) = LINES.findall(text)
    assert len([line for line in lines.splitlines() if line]) <= 5
    names: dict[str, Any] = {}
    exec(lines.replace('"BASE"', repr(str(base))), names)
    return names["model"]


def predictions(model: Any, cell: Cell, lab: Lab, base: Path) -> tuple[list[Any], float]:
    data = open_data(data_folder(cell.task, cell.backbone, cell.data, None, lab.cache))
    split = data.evaluation[cell.task.primary_split]
    found = predict(model, cell.task, split, load_tokenizer(base), 8, torch.device("cpu"))
    return found.values, found.loss


@pytest.mark.parametrize("method", ["adalora", "full", pytest.param("qlora", marks=pytest.mark.long)])
def test_in_the_folder_of_the_card(
    shared_lab: Lab, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject, base = trained(shared_lab, method, tmp_path)
    text = card(subject)
    write_atomic(subject.folder / "README.md", text.encode())
    monkeypatch.chdir(subject.folder)
    values, loss = predictions(run(text, base), subject.cell, shared_lab, base)
    exact = subject.cell.method.storage == "fp32"
    assert loss == pytest.approx(subject.record.loss["validation"], rel=1e-5 if exact else 2e-2)
    if exact:
        assert values == pd.read_parquet(subject.folder.parent / "predictions.parquet")["prediction"].tolist()
    # The card changed nothing for a pipeline that comes by again.
    assert recorded(subject.folder.parent, inputs_of(subject.cell, shared_lab.cache, None)) == subject.record


def test_from_the_hub(shared_lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the hub's cache on this machine, as after a download, with the base under its name there."""
    subject, base = trained(shared_lab, "lora", tmp_path / "cells")
    cell = subject.cell
    known = cell.backbone.model_copy(update={"hub": "owner/base", "path": None, "revision": COMMIT})
    subject = replace(subject, cell=cell.model_copy(update={"backbone": known}))
    text = card(subject, Place("owner/adapters"))
    downloaded(tmp_path / "hub", "owner/base", base)
    downloaded(tmp_path / "hub", "owner/adapters", subject.folder)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    _, loss = predictions(run(text), cell, shared_lab, base)
    assert loss == pytest.approx(subject.record.loss["validation"], rel=1e-5)


def downloaded(hub: Path, repository: str, files: Path) -> None:
    """Lay `files` out as the hub's library does with what it has downloaded."""
    place = hub / f"models--{repository.replace('/', '--')}"
    shutil.copytree(files, place / "snapshots" / COMMIT)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(COMMIT)


@pytest.mark.long
def test_from_a_folder_of_a_repository(shared_lab: Lab, hub: StandIn, tmp_path: Path) -> None:
    """Downloaded by the hub's own library, in a process that knows nothing but the lines."""
    subject, base = trained(shared_lab, "adalora", tmp_path / "cells")
    backbone = subject.cell.backbone.model_copy(update={"hub": "owner/base", "path": None})
    subject = replace(subject, cell=subject.cell.model_copy(update={"backbone": backbone}))
    hub.repositories["owner/base"] = {file.name: file.read_bytes() for file in base.iterdir()}
    adapter = {f"{subject.cell.id}/{file.name}": file.read_bytes() for file in subject.folder.iterdir()}
    hub.repositories["owner/adapters"] = adapter
    (lines,) = LINES.findall(card(subject, Place("owner/adapters", subject.cell.id)))
    asked = "import torch\nprint(model(torch.arange(4, 20)[None]).logits.tolist())"
    environment = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", lines + asked],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    here = run(card(subject, Place(str(subject.folder))).replace("owner/base", str(base)))
    expected = here(torch.arange(4, 20)[None]).logits
    torch.testing.assert_close(torch.tensor(json.loads(done.stdout)), expected)
