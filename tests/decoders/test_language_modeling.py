"""Plain language modeling: a causal-lm task whose only column is the text, scored by its perplexity."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.rows import all_rows
from helpers.small_models import save_small_decoder, save_small_gpt2
from peft import PeftModel
from pydantic import ValidationError
from transformers import AutoModelForCausalLM, AutoTokenizer

from bench.cli.app import main
from bench.config.backbone import Backbone
from bench.config.budget import Budget
from bench.config.catalog import WORKFLOW, load_catalog
from bench.config.cell import Cell, DataChoice
from bench.config.task import Task
from bench.inputs import synthetic
from bench.inputs.backbones import prepare_backbone
from bench.inputs.datasets import open_data, prepare_task
from bench.inputs.sources import read_source
from bench.inputs.tokenize import Tokenizer
from bench.training.run import train_cell

TRAIN = ["the baker sold her bread", "a doctor met her brother", "", "the baker met a doctor"]
TEST = ["the doctor sold bread", "", "her brother met the baker and sold a bread", "a"]
PLAIN = {
    "name": "plain",
    "kind": "causal-lm",
    "data": {"hub": "a/b", "columns": {"target": "text"}},
    "prompt": {"text": "", "completion": "{text}"},
    "metrics": ["perplexity"],
}
SIZES = {"batch_size": 2, "epochs": 2, "max_length": 1, "max_target_length": 9}
RECIPE = {"learning_rate": 1e-2, "warmup_steps": 0, **SIZES}


def task_of(folder: Path, **changes: Any) -> Task:
    """The task with its texts in JSON lines in `folder`, empty lines among them as in wikitext."""
    for name, texts in (("train", TRAIN), ("test", TEST)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    files = {name: str(folder / f"{name}.jsonl") for name in ("train", "test")}
    data = {"files": files, "columns": {"target": "text"}, "drop_unlabelled": True}
    return Task.model_validate({**PLAIN, "data": data, "recipe": RECIPE, **changes})


def plain_perplexity(model: Any, tokenizer: Any) -> float:
    """Of the texts behind the token that begins one, with the token that ends one, cut at 9 tokens."""
    losses = tokens = 0.0
    for text in filter(None, TEST):
        head = [tokenizer.bos_token_id]
        tail = [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id][:9]
        labels = torch.tensor([[-100] * len(head) + tail])
        losses += float(model(input_ids=torch.tensor([head + tail]), labels=labels).loss) * len(tail)
        tokens += len(tail)
    return math.exp(losses / tokens)


@torch.no_grad()
@pytest.mark.parametrize(
    ("save", "matrices"), [(save_small_decoder, ["q_proj", "v_proj"]), (save_small_gpt2, ["c_attn"])]
)
def test_its_perplexity_is_that_of_transformers_after_a_training(tmp_path: Path, save: Any, matrices: Any) -> None:
    """Whether or not (GPT-2) the tokenizer puts a token before a text: the first token is scored, too."""
    save(tmp_path / "model")
    task = task_of(tmp_path)
    backbone = Backbone(name="small", path=str(tmp_path / "model"), kinds=["causal-lm"], matrices=matrices)
    lora = load_catalog(WORKFLOW).methods["lora"].item
    cell = Cell(
        study="test", task=task, backbone=backbone, method=lora, budget_name="b", budget=Budget(rank=2), seed=0,
        recipe=task.recipe, data=DataChoice(source="hub"),
    )  # fmt: skip
    cache, out = tmp_path / "cache", tmp_path / "out"
    prepare_backbone(backbone, mirror=None, cache=cache)
    prepared = open_data(prepare_task(task, backbone, cell.data, mirror=None, cache=cache))
    assert prepared.manifest["dropped_unlabelled"] == {"train": 1, "test": 1}
    with torch.enable_grad():
        record = train_cell(cell, out=out, cache=cache)

    base = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    before = plain_perplexity(base, tokenizer)
    after = plain_perplexity(PeftModel.from_pretrained(base, out / "adapter").eval(), tokenizer)
    assert record.reported is not None
    assert record.reported.value == pytest.approx(after, rel=1e-5)
    assert after < 0.99 * before
    ids = prepared.evaluation["test"].input_ids
    assert [list(ids[i]) for i in range(3)] == [[tokenizer.bos_token_id]] * 3
    assert [int(row) for row in prepared.evaluation["test"].rows] == [0, 2, 3]


def test_a_prompt_of_constant_text_stands_before_each_text(tmp_path: Path) -> None:
    save_small_decoder(tmp_path / "model")
    backbone = Backbone(name="small", path=str(tmp_path / "model"), kinds=["causal-lm"], matrices=["q_proj"])
    prompt = {"text": "Text:", "completion": " {text}"}
    task = task_of(tmp_path, prompt=prompt, recipe={**RECIPE, "max_length": 8, "max_target_length": 64})
    prepare_backbone(backbone, mirror=None, cache=tmp_path)
    data = prepare_task(task, backbone, DataChoice(source="hub"), mirror=None, cache=tmp_path)
    split, tokenizer = open_data(data).evaluation["test"], AutoTokenizer.from_pretrained(tmp_path / "model")
    assert {tuple(ids.tolist()) for ids in split.input_ids} == {tuple(tokenizer("Text:")["input_ids"])}
    written = [f" {text}{tokenizer.eos_token}" for text in TEST if text]
    assert [tokenizer.decode(ids) for ids in split.label_ids] == written


def test_generated_rows_and_options_without_a_text_column(tmp_path: Path) -> None:
    data = {"hub": "a/b", "evaluation": {"test": "test"}, "columns": {"target": "text"}, "embedded": "sums"}
    choice = DataChoice(source="embedded", evaluation_rows=2)
    rows = all_rows(read_source(Task.model_validate({**PLAIN, "data": data}), choice, None).splits["test"])
    assert (rows.texts, rows.targets) == ([[], []], synthetic.rows("sums", "test").targets[:2])
    (tmp_path / "rows.jsonl").write_text('{"good": "they sing", "bad": "they sings", "right": 0}\n')
    files = dict.fromkeys(("train", "test"), str(tmp_path / "rows.jsonl"))
    data = {"files": files, "columns": {"options": ["good", "bad"], "target": "right"}}
    kind = {"kind": "multiple-choice", "metrics": ["accuracy"], "prompt": {"text": "", "completion": "{option}"}}
    task = Task.model_validate({**PLAIN, **kind, "data": data})
    rows = all_rows(read_source(task, DataChoice(source="hub"), None).splits["test"])
    assert (rows.texts, rows.options, rows.targets) == ([[]], [["they sing", "they sings"]], [0])
    save_small_decoder(tmp_path / "model")
    batch = Tokenizer(task, AutoTokenizer.from_pretrained(tmp_path / "model"), segments=False)(rows)
    assert batch.column("input_ids").to_pylist() == [[1]]  # the token that begins a text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metrics": ["perplexity", "bleu"], "generation": {"max_length": 4}}, "every prompt is the same, so every"),
        ({"prompt": {"text": "{title}", "completion": "{text}"}}, "names {title}, but expected no column, since data."),
        ({"prompt": {"text": "{text}", "completion": "{text}"}}, "names {text}, but expected no column"),
        ({"prompt": {"text": "", "completion": "x"}}, "does not hold what is to be learned"),
        ({"kind": "summarization", "prompt": None}, "a summarization task reads a text or an image: give either"),
        (
            {"kind": "classification", "prompt": None, "labels": ["a", "b"], "metrics": ["f1"]},
            "a classification task reads a text or an image: give either",
        ),
    ],
)
def test_where_no_text_column_makes_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Task.model_validate({**PLAIN, **changes})


def test_bench_check_names_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tasks").mkdir()
    text = (
        "name: plain\nkind: causal-lm\ndata:\n  files: {train: rows.jsonl, dev: rows.jsonl}\n"
        '  columns: {target: text}\nprompt: {text: "", completion: "{text}"}\nmetrics: [perplexity]\n'
    )
    (tmp_path / "tasks/rows.jsonl").write_text('{"text": "a"}\n')
    file = tmp_path / "tasks/plain.yaml"
    monkeypatch.chdir(tmp_path)
    file.write_text(text)
    assert main(["check", "--workflow", str(tmp_path)]) == 0
    file.write_text(text.replace("[perplexity]", "[rouge1]\ngeneration: {max_length: 4}"))
    assert main(["check", "--workflow", str(tmp_path)]) == 2
    assert "plain.yaml:5:3: data.columns" in capsys.readouterr().err
