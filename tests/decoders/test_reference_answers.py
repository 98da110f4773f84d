"""References in which `extract` finds no answer: of all rows refused before any training, of some told in notes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.small_cells import Lab

from bench.config.cell import Cell
from bench.config.extract import After
from bench.errors import BenchError
from bench.evaluation.evaluate import evaluate
from bench.inputs.cache_keys import backbone_folder, data_folder
from bench.inputs.datasets import open_data
from bench.inputs.reader import load_tokenizer
from bench.models.backbone import load_backbone
from bench.training.holdout import Rows


def asking(cell: Cell, mark: str) -> Cell:
    return cell.model_copy(update={"task": cell.task.model_copy(update={"extract": After(after=mark)})})


def test_a_split_without_any_answer_is_refused_when_it_is_prepared_and_when_it_is_read(
    shared_sums: Lab, tmp_path: Path
) -> None:
    lab = replace(shared_sums, cache=tmp_path)
    cell = lab.cell("lora")
    wrong = asking(cell, "Answer:")
    message = "split 'test': `extract` finds no answer in any text of column 'answer', .* the first is '"
    with pytest.raises(BenchError, match=message):
        lab.prepare(wrong)
    lab.prepare(cell)
    data, model = data_folder(cell.task, cell.backbone, cell.data, None, tmp_path), backbone_folder
    with pytest.raises(BenchError, match=message):
        Rows.read(data, model(cell.backbone, None, tmp_path), wrong)


def test_references_without_an_answer_are_told(shared_sums: Lab, tmp_path: Path) -> None:
    lab = replace(shared_sums, cache=tmp_path)
    cell = lab.prepare(lab.cell("lora"))
    folder = backbone_folder(cell.backbone, None, tmp_path)
    split = open_data(data_folder(cell.task, cell.backbone, cell.data, None, tmp_path)).evaluation["test"]
    mark = split.targets[0]  # a whole answer but its last character is a mark that few others have
    some = asking(cell, mark[:-1])
    having = sum(mark[:-1] in target and not target.endswith(mark[:-1]) for target in split.targets)
    model = load_backbone(cell, folder, torch.device("cpu")).eval()
    found = evaluate(model, some.task, {"test": split}, load_tokenizer(folder), 16, torch.device("cpu"))
    assert 0 < having < len(split)
    said = f"test: `extract` finds no answer in {len(split) - having} of {len(split)} references"
    assert [note for note in found.notes if note.startswith(said)]
    told = evaluate(model, cell.task, {"test": split}, load_tokenizer(folder), 16, torch.device("cpu"))
    assert not told.notes
