"""Losses, log-likelihoods and texts of a decoder, against the model by itself, one unpadded row at a time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small_cells import Lab
from torch.nn import functional

from bench.config.cell import Cell
from bench.evaluation.evaluate import Predictions, predict
from bench.evaluation.loss import task_loss
from bench.inputs.cache_keys import backbone_folder, data_folder
from bench.inputs.collate import Collator
from bench.inputs.datasets import open_data
from bench.inputs.prompts import OPTION_IDS, OPTION_LENGTHS
from bench.inputs.reader import load_tokenizer
from bench.inputs.splits import Split
from bench.models.backbone import load_backbone

CPU = torch.device("cpu")


def opened(lab: Lab, cell: Cell) -> tuple[Any, Any, Split]:
    """The model in evaluation mode, its tokenizer, and the rows that it is scored on."""
    folder = backbone_folder(cell.backbone, None, lab.cache)
    split = open_data(data_folder(cell.task, cell.backbone, cell.data, None, lab.cache)).evaluation["test"]
    return load_backbone(cell, folder, CPU).eval(), load_tokenizer(folder), split


def loglikelihoods(model: Any, prompt: Any, completion: Any) -> torch.Tensor:
    """Of each token of the completion, by the model on one row without padding, as transformers computes logits."""
    ids = torch.tensor([[*prompt, *completion]])
    logits = model(input_ids=ids).logits.double()[0, len(prompt) - 1 : -1]
    return functional.log_softmax(logits, dim=-1).gather(1, torch.tensor(completion)[:, None].long())[:, 0]


@torch.no_grad()
def test_the_loss_is_that_of_the_completions_tokens_alone(shared_sums: Lab, tmp_path: Path) -> None:
    lab = replace(shared_sums, cache=tmp_path)
    cell = lab.prepare(lab.cell("lora"))
    model, tokenizer, split = opened(lab, cell)
    rows = [3, 0, 7, 11]
    assert len({split.lengths[i] for i in rows}) > 1
    loss, _ = task_loss(model, Collator(split, "causal-lm", tokenizer, CPU)(rows), "causal-lm")
    each = torch.cat([loglikelihoods(model, split.input_ids[i], split.label_ids[i]) for i in rows])
    assert float(loss) == pytest.approx(-float(each.mean()), rel=1e-5)


@torch.no_grad()
def test_texts_are_those_of_plain_generate_for_each_prompt_alone(shared_sums: Lab, tmp_path: Path) -> None:
    lab = replace(shared_sums, cache=tmp_path)
    cell = lab.prepare(lab.cell("lora"))
    model, tokenizer, split = opened(lab, cell)
    found: dict[int, Predictions] = {}
    for beams in (1, 3):
        assert cell.task.generation is not None
        generation = cell.task.generation.model_copy(update={"beams": beams, "max_length": 9})
        task = cell.task.model_copy(update={"generation": generation})
        found[beams] = predict(model, task, split, tokenizer, 8, CPU)
        for value, prompt in zip(found[beams].values, split.input_ids, strict=True):
            ids = torch.tensor(prompt)[None].long()
            plain = model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=9, num_beams=beams,
                early_stopping=beams > 1, do_sample=False,
            )  # fmt: skip
            assert value == tokenizer.decode(plain[0, len(prompt) :], skip_special_tokens=True).strip()
    assert len(set(found[1].values)) > 1
    assert found[1].loss == found[3].loss


@torch.no_grad()
def test_a_text_ends_before_the_first_stop(shared_sums: Lab, tmp_path: Path) -> None:
    lab = replace(shared_sums, cache=tmp_path)
    cell = lab.prepare(lab.cell("lora"))
    model, tokenizer, split = opened(lab, cell)
    assert cell.task.generation is not None

    def texts(stop: list[str]) -> list[str]:
        generation = cell.task.generation.model_copy(update={"beams": 1, "max_length": 9, "stop": stop})
        return predict(model, cell.task.model_copy(update={"generation": generation}), split, tokenizer, 8, CPU).values

    whole = texts([])
    stop = next(text for text in whole if len(text) > 4)[2:4]
    assert texts([stop]) == [text.partition(stop)[0].strip() for text in whole]

    passes = []
    model.register_forward_hook(lambda *_: passes.append(1))
    counts = []
    for stops in ([], sorted({text[:1] for text in whole} | {" "})):
        passes.clear()
        texts(stops)
        counts.append(len(passes))
    assert counts[1] < counts[0]  # once every text has its stop, no further token is written


@torch.no_grad()
@pytest.mark.parametrize("beams", [1, 2])
def test_a_stop_that_begins_in_the_prompt_ends_no_text(shared_sums: Lab, tmp_path: Path, beams: int) -> None:
    """transformers looks for stop texts in prompt and text together: of each row nothing but a token would be left."""
    lab = replace(shared_sums, cache=tmp_path)
    cell = lab.prepare(lab.cell("lora"))
    model, tokenizer, split = opened(lab, cell)
    assert cell.task.generation is not None
    given = cell.task.generation.model_copy(update={"beams": beams, "max_length": 9, "stop": []})

    def texts(stop: list[str]) -> list[str]:
        task = cell.task.model_copy(update={"generation": given.model_copy(update={"stop": stop})})
        return predict(model, task, split, tokenizer, 8, CPU).values

    whole = texts([])
    ends = [tokenizer.decode(prompt)[-3:] for prompt in split.input_ids]
    found = []
    for end, text in zip(ends, whole, strict=True):
        found += [end + blank + text[:1] for blank in ("", " ")]
    stops = sorted(set(found))
    assert not any(stop in text for stop in stops for text in whole)
    assert texts(stops) == whole


@torch.no_grad()
def test_the_option_of_the_highest_likelihood_is_predicted(shared_choices: Lab, tmp_path: Path) -> None:
    lab = replace(shared_choices, cache=tmp_path)
    cell = lab.prepare(lab.cell("lora"))
    model, tokenizer, split = opened(lab, cell)
    predicted = {size: predict(model, cell.task, split, tokenizer, size, CPU) for size in (1, 5, 16)}
    rows = lab.rows(cell)
    right = []
    for i, scores in enumerate(predicted[16].details["loglikelihoods"]):
        options = torch.tensor(split.more[OPTION_IDS][i]).split(split.more[OPTION_LENGTHS][i].tolist())
        alone = [float(loglikelihoods(model, split.input_ids[i], option.tolist()).sum()) for option in options]
        assert scores == pytest.approx(alone, rel=1e-5)
        per_character = [score / len(option) for score, option in zip(alone, rows.options[i], strict=True)]
        assert predicted[16].values[i] == alone.index(max(alone))
        assert predicted[16].details["prediction_normalized"][i] == per_character.index(max(per_character))
        right.append(alone[split.targets[i]])
    assert len({len(scores) for scores in predicted[16].details["loglikelihoods"]}) > 1
    for size in (1, 5):
        assert predicted[size].values == predicted[16].values
    assert predicted[16].loss == pytest.approx(-sum(right) / sum(split.target_lengths), rel=1e-5)


@torch.no_grad()
def test_an_option_that_is_nan_is_no_prediction(shared_choices: Lab, tmp_path: Path) -> None:
    lab = replace(shared_choices, cache=tmp_path)
    cell = lab.prepare(lab.cell("lora"))
    model, tokenizer, split = opened(lab, cell)
    model.model.norm.weight.fill_(float("nan"))
    assert set(predict(model, cell.task, split, tokenizer, 8, CPU).values) == {-1}
