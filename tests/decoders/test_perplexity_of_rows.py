"""Perplexity as a metric: that of transformers' own loss on the same rows. Where it is alone, no text is written."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.small_cells import Lab

from bench.analysis.stats.predictions import checked_sums, in_order, read_predictions
from bench.config.task import Task
from bench.errors import BenchError
from bench.evaluation.evaluate import evaluate
from bench.evaluation.predictions_file import write_predictions
from bench.inputs.cache_keys import backbone_folder, data_folder
from bench.inputs.collate import IGNORED
from bench.inputs.datasets import open_data
from bench.inputs.reader import load_tokenizer
from bench.inputs.splits import Split
from bench.models.backbone import load_backbone

CPU = torch.device("cpu")
ALONE = {"metrics": ["perplexity"], "generation": None, "extract": None}


def plain_losses(model: Any, split: Split, kind: str) -> np.ndarray:
    """Of each row, by itself and without padding, the summed loss of its target that transformers computes."""
    losses = []
    for source, target in zip(split.input_ids, split.label_ids, strict=True):
        ids, labels = torch.tensor([list(source)]), torch.tensor([list(target)])
        if kind == "causal-lm":
            ids, labels = torch.cat([ids, labels], dim=1), torch.cat([torch.full_like(ids, IGNORED), labels], dim=1)
        mean = model(input_ids=ids.long(), labels=labels.long()).loss
        losses.append(float(mean) * len(target))
    return np.array(losses)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["causal-lm", "summarization"])
def test_it_is_that_of_transformers_loss_and_saved_rows_give_it(
    shared_sums: Lab, shared_summaries: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    lab = replace({lab.kind: lab for lab in (shared_sums, shared_summaries)}[kind], cache=tmp_path)
    cell = lab.prepare(lab.cell("lora"))
    folder = backbone_folder(cell.backbone, None, tmp_path)
    (split,) = open_data(data_folder(cell.task, cell.backbone, cell.data, None, tmp_path)).evaluation.values()
    model, tokenizer = load_backbone(cell, folder, CPU).eval(), load_tokenizer(folder)
    losses, tokens = plain_losses(model, split, kind), np.array(split.target_lengths)
    expected = math.exp(losses.sum() / tokens.sum())
    assert expected != pytest.approx(float(np.exp(losses / tokens).mean()), rel=1e-4)  # no mean over rows

    beside = [*cell.task.metrics, "perplexity"]
    written = evaluate(model, cell.task.model_copy(update={"metrics": beside}), {"v": split}, tokenizer, 8, CPU)
    assert written.metrics["v"]["perplexity"] == pytest.approx(expected, rel=1e-5)
    assert all(isinstance(text, str) for text in written.predictions["v"])
    without = evaluate(model, cell.task, {"v": split}, tokenizer, 8, CPU)  # the metric changes nothing else
    assert (without.predictions, without.loss) == (written.predictions, written.loss)

    task: Task = cell.task.model_copy(update=ALONE)
    monkeypatch.setattr(model, "generate", lambda **_: pytest.fail("a text was written"))
    for size in (16, 5):
        found = evaluate(model, task, {"v": split}, tokenizer, size, CPU)
        assert found.metrics["v"] == {"perplexity": pytest.approx(expected, rel=1e-5)}
        assert found.predictions["v"] == pytest.approx((-losses).tolist(), rel=1e-4)
    assert "generation" not in found.settings

    file = tmp_path / "predictions.parquet"
    write_predictions(file, {"v": split}, found.predictions, found.scores, found.details)
    read = read_predictions(file)
    assert read is not None
    columns = in_order(read["v"])
    value = found.metrics["v"]["perplexity"]
    assert value is not None
    sums = checked_sums(task, "perplexity", columns, value, file)
    assert sums is not None
    assert sums.columns == pytest.approx(np.stack([losses, tokens], axis=1), rel=1e-4)
    with pytest.raises(BenchError, match=r"gives perplexity .* they are not of the same run"):
        checked_sums(task, "perplexity", columns, value * 1.001, file)
