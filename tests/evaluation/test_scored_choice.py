"""Options that an encoder scores: pairs, the loss over a row's options, and whole cells."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small_cells import Lab, Moment, make_lab, outcome, record_of

from bench.errors import BenchError
from bench.evaluation.evaluate import predict
from bench.evaluation.loss import task_loss
from bench.inputs.cache_keys import backbone_folder, data_folder
from bench.inputs.collate import Collator
from bench.inputs.datasets import open_data
from bench.inputs.formats.rows import Rows
from bench.inputs.option_pairs import OptionPairEncoder
from bench.inputs.reader import load_tokenizer
from bench.models.backbone import load_backbone

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return make_lab(tmp_path_factory.mktemp("scored"), "scored-choice")


@torch.no_grad()
def test_every_option_is_scored_as_a_pair_by_itself(scored: Lab, tmp_path: Path) -> None:
    lab = replace(scored, cache=tmp_path)
    cell = lab.prepare(lab.cell("lora"))
    folder = backbone_folder(cell.backbone, None, tmp_path)
    torch.manual_seed(0)
    model, tokenizer = load_backbone(cell, folder, CPU).eval(), load_tokenizer(folder)
    assert model.config.num_labels == 1
    split = open_data(data_folder(cell.task, cell.backbone, cell.data, None, tmp_path)).evaluation["test"]
    rows = lab.rows(cell)
    losses, answers = [], []
    for (text,), options, target in zip(rows.texts, rows.options, rows.targets, strict=True):
        pairs = [
            tokenizer(text, option, truncation="only_first", max_length=24, return_tensors="pt") for option in options
        ]
        scores = torch.cat([model(input_ids=pair["input_ids"]).logits[0] for pair in pairs]).double()
        losses.append(-float(scores.log_softmax(0)[target]))
        answers.append(int(scores.argmax()))
    assert len({len(options) for options in rows.options}) > 1
    for size in (1, 7, 16):
        found = predict(model, cell.task, split, tokenizer, size, CPU)
        assert found.values == answers
        assert found.loss == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    batch = Collator(split, "scored-choice", tokenizer, CPU)([2, 0])
    loss, logits = task_loss(model, batch, "scored-choice")
    assert float(loss) == pytest.approx((losses[2] + losses[0]) / 2, rel=1e-5)
    assert torch.isfinite(logits).sum(1).tolist() == [len(rows.options[2]), len(rows.options[0])]


def test_the_text_is_cut_and_never_an_option(scored: Lab) -> None:
    tokenizer = load_tokenizer(scored.model)
    task = scored.cell("lora").task
    encode = OptionPairEncoder(task, tokenizer, segments=False)
    options = ["the baker", "the old sailor by the river"]
    columns = encode(Rows([["painted " * 60]], [0], [4], [options]))
    first, second = columns["option_lengths"][0].as_py()
    ids = columns["input_ids"][0].as_py()
    assert (first, second) == (24, 24)
    for part, option in ((ids[:first], options[0]), (ids[first:], options[1])):
        assert part[-len(tokenizer(option)["input_ids"]) + 1 :] == tokenizer(option)["input_ids"][1:]
    with pytest.raises(
        BenchError, match=r"row 4: an option has \d+ tokens, which leaves none of recipe.max_length, 24"
    ):
        encode(Rows([["painted"]], [0], [4], [["the baker", "the river " * 12]]))


@pytest.mark.parametrize("method", ["adalora", "qlora"])
def test_a_killed_cell_ends_as_if_nothing_had_happened(
    scored: Lab, tmp_path: Path, undisturbed: Any, method: str
) -> None:
    lab = replace(scored, cache=tmp_path / "cache")
    cell, out = lab.prepare(lab.cell(method)), tmp_path / "out"
    assert lab.train(cell, out, Moment("step", 6, signal.SIGKILL)) == -signal.SIGKILL
    assert lab.train(cell, out, attempt=2) == 0, (tmp_path / "log.txt").read_text()
    assert outcome(out) == undisturbed(lab, cell)
    assert record_of(out).parameters.head > 0  # type: ignore[union-attr]
