"""A merged checkpoint, loaded by transformers alone, gives the predictions and the loss that the cell recorded."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
import transformers
from helpers.small_cells import Lab, make_lab, record_of

from bench.cli.app import main
from bench.config.cell import Cell
from bench.evaluation.evaluate import Predictions, predict
from bench.inputs.cache_keys import data_folder
from bench.inputs.datasets import open_data

# Kind of model and method: each adapter, each storage, and each way in which a model stores what is adapted.
QUICK = {
    "nf4": ("classification", "qlora_adalora"),
    "scaled": ("classification", "ia3"),
    "fused": ("classifying-gpt2", "adalora"),
    "decoder": ("causal-lm", "adalora"),
    "tied": ("summarization", "lora"),
}
OTHERS = {
    "lora": ("classification", "lora"),
    "adalora": ("classification", "adalora"),
    "bf16": ("classification", "lora_bf16"),
    "dora": ("classification", "dora"),
    "rslora": ("classification", "rslora"),
    "answers": ("question-answering", "adalora"),
    "tied_adalora": ("summarization", "adalora"),
    "fused_nf4": ("classifying-gpt2", "qlora_adalora"),
    "decoder_nf4": ("causal-lm", "qlora"),
}
RATE = 2e-2  # high, so that an adapter matters


@pytest.fixture(scope="module")
def labs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Lab]:
    kinds = dict.fromkeys(kind for kind, _ in (QUICK | OTHERS).values())
    return {kind: make_lab(tmp_path_factory.mktemp(kind), kind) for kind in kinds}


@pytest.mark.parametrize("case", [*QUICK, *(pytest.param(name, marks=pytest.mark.long) for name in OTHERS)])
def test_what_was_recorded_is_given_again(labs: dict[str, Lab], case: str, tmp_path: Path) -> None:
    kind, method = (QUICK | OTHERS)[case]
    lab = labs[kind]
    cell, folder, out = trained(lab, method, tmp_path)
    export(lab, folder, out)
    record, found = record_of(folder), predictions(lab, cell, out)
    recorded = pd.read_parquet(folder / "predictions.parquet")["prediction"].tolist()
    exact = cell.method.storage == "fp32"
    # Under the other storages what flows between the layers was rounded to bfloat16, and here it is not.
    assert found.loss == pytest.approx(record.loss[cell.task.primary_split], rel=1e-4 if exact else 2e-2)
    same = sum(one == other for one, other in zip(recorded, found.values, strict=True))
    print(case, same, found.loss, record.loss, set(r.end for r in record.ranks.values()))
    assert same == len(recorded) if exact else same >= 0.85 * len(recorded)
    if method == "adalora":  # some matrices have lost all of their ranks
        assert len({rank.end for rank in record.ranks.values()}) > 2


def trained(lab: Lab, method: str, folder: Path) -> tuple[Cell, Path, Path]:
    """A cell, its folder, and where to export it to."""
    cell = lab.prepare(lab.cell(method, learning_rate=RATE))
    assert lab.train(cell, folder / "seed-0", every=None) == 0
    return cell, folder / "seed-0", folder / "merged"


def export(lab: Lab, cell: Path, out: Path, *options: str) -> None:
    assert main(["export", str(cell), "--as", "merged", "--out", str(out), "--cache", str(lab.cache), *options]) == 0


def predictions(lab: Lab, cell: Cell, folder: Path) -> Predictions:
    """Of the checkpoint in `folder`, which transformers loads with its own tokenizer."""
    data = open_data(data_folder(cell.task, cell.backbone, cell.data, None, lab.cache))
    model = getattr(transformers, cell.task.facts.auto_class).from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    split = data.evaluation[cell.task.primary_split]
    return predict(model, cell.task, split, tokenizer, 8, torch.device("cpu"))
