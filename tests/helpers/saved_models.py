"""A workflow with one small backbone, and what was saved from it: a whole checkpoint and an adapter of PEFT."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from bench.cli.app import main
from bench.config.catalog import WORKFLOW
from bench.records.io import read_record
from bench.records.schema import Record
from helpers.small_models import save_bert_of_pairs

ORDER = [2, 1, 0]  # contradiction, neutral, entailment: as many published checkpoints have it
NAMES = ["entailment", "neutral", "contradiction"]
BACKBONE = """\
name: {name}
path: {path}
kinds: [classification, regression]
matrices: [query, intermediate.dense]
head: [pooler, classifier]
"""


class World:
    """A workflow of a few tasks and one small backbone, models saved from it, and one cache for all of them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.base = folder, folder / "small"
        save_bert_of_pairs(self.base)
        workflow = folder / "workflow"
        for name in ("tasks", "backbones"):
            (workflow / name).mkdir(parents=True)
        for task in ("mnli", "cola", "stsb"):
            shutil.copyfile(WORKFLOW / "tasks" / f"{task}.yaml", workflow / "tasks" / f"{task}.yaml")
        turned = (WORKFLOW / "tasks" / "mnli.yaml").read_text().replace("name: mnli", "name: mnli_turned")
        turned = turned.replace("[entailment, neutral, contradiction]", "[contradiction, neutral, entailment]")
        (workflow / "tasks" / "mnli_turned.yaml").write_text(turned)
        self.add_backbone("small", self.base)
        torch.manual_seed(1)
        self.model = AutoModelForSequenceClassification.from_pretrained(self.base, num_labels=3)
        torch.nn.init.normal_(self.model.classifier.weight)
        self.model.save_pretrained(folder / "checkpoint")
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copyfile(self.base / name, folder / "checkpoint" / name)
        config = LoraConfig(target_modules=["query"], modules_to_save=["pooler"], task_type="SEQ_CLS", r=2)
        adapted = get_peft_model(self.model, config)
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter)
        adapted.save_pretrained(folder / "adapter")

    @property
    def places(self) -> list[str]:
        return ["--cache", str(self.folder / "cache"), "--workflow", str(self.folder / "workflow")]

    def add_backbone(self, name: str, path: Path) -> None:
        file = self.folder / "workflow" / "backbones" / f"{name}.yaml"
        file.write_text(BACKBONE.format(name=name, path=path))

    def score(self, model: Path, *options: str, task: str = "mnli") -> int:
        rows = ["--embedded", "--rows", "30"]
        out = ["--out", str(model.parent / "out")]
        return main(
            ["evaluate", str(model), "--task", task, "--backbone", "small", *self.places, *rows, *out, *options]
        )


def change_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    (file,) = folder.glob("*.safetensors")
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def named(names: list[str]) -> dict[str, Any]:
    return {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}


def recorded(folder: Path) -> tuple[Record, pd.DataFrame]:
    return read_record(folder / "out" / "record.json"), pd.read_parquet(folder / "out" / "predictions.parquet")


def assert_said(capsys: pytest.CaptureFixture, message: str) -> None:
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert re.search(message, error.splitlines()[-1]), error
