"""A text without any token, as GPT-2's tokenizer makes of an empty one: its scores are those of its row alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow
import pytest
import torch
from helpers.small_models import save_small_gpt2
from tokenizers.processors import TemplateProcessing
from torch.nn import functional
from transformers import GPT2ForSequenceClassification, GPT2LMHeadModel, PreTrainedTokenizerBase

from bench.config.catalog import load_catalog
from bench.config.task import Task
from bench.errors import BenchError
from bench.evaluation.evaluate import predict
from bench.evaluation.predictors import LOGLIKELIHOOD
from bench.inputs.collate import Collator
from bench.inputs.empty_texts import with_a_token
from bench.inputs.formats.rows import Rows
from bench.inputs.padding import settle_padding
from bench.inputs.reader import load_tokenizer
from bench.inputs.splits import Split, open_split
from bench.inputs.tokenize import Tokenizer, check_lengths

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpt2")
    save_small_gpt2(folder)
    settle_padding(folder)
    return folder


def prepared(task: Task, tokenizer: PreTrainedTokenizerBase, rows: Rows, folder: Path) -> Split:
    batch = Tokenizer(task, tokenizer, segments=False)(rows)
    with pyarrow.ipc.new_file(str(folder / "rows.arrow"), batch.schema) as writer:
        writer.write_batch(batch)
    return open_split(folder / "rows.arrow")


def task_of(name: str, **changes: Any) -> Task:
    given = load_catalog().tasks[name].item.model_dump(exclude_defaults=True)
    return Task(**{**given, **changes})


@torch.no_grad()
def test_an_empty_text_has_the_same_scores_in_any_batch(gpt2: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(gpt2)
    assert tokenizer("")["input_ids"] == []
    rows = Rows([[""], ["the baker"], ["the baker sold her bread"]], [0, 1, 0], [0, 1, 2])
    split = prepared(task_of("cola"), tokenizer, rows, tmp_path)
    model = GPT2ForSequenceClassification.from_pretrained(gpt2, num_labels=2).eval()
    collate = Collator(split, "classification", tokenizer, CPU)
    together = model(**collate([0, 1, 2]).inputs).logits
    alone = torch.cat([model(**collate([i]).inputs).logits for i in range(3)])
    assert torch.allclose(together, alone, atol=1e-5)


@torch.no_grad()
def test_what_stands_behind_an_empty_prompt_follows_the_start_of_a_text(gpt2: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(gpt2)
    prompt = {"text": "{question}", "completion": "{answer}"}
    task = task_of("gsm8k", prompt=prompt, generation={"max_length": 4})
    rows = Rows([[""], ["the baker sold"]], ["the bread", "bread"], [0, 1])
    split = prepared(task, tokenizer, rows, tmp_path)
    model = GPT2LMHeadModel.from_pretrained(gpt2).eval()
    found = [predict(model, task, split, tokenizer, size, CPU) for size in (2, 1)]
    start = tokenizer.bos_token_id
    written = tokenizer("the bread")["input_ids"] + [tokenizer.eos_token_id]
    logits = model(torch.tensor([[start, *written]])).logits[0, :-1]
    expected = -float(functional.cross_entropy(logits, torch.tensor(written), reduction="sum"))
    for predicted in found:
        assert predicted.details[LOGLIKELIHOOD][0] == pytest.approx(expected, rel=1e-5)
        assert predicted.values == found[0].values


def test_a_tokenizer_without_such_a_token_is_refused(gpt2: Path) -> None:
    tokenizer = load_tokenizer(gpt2)
    tokenizer.bos_token = tokenizer.eos_token = None
    assert with_a_token([[3]], tokenizer) == [[3]]
    with pytest.raises(BenchError, match="none that begins or ends a text"):
        with_a_token([[3], []], tokenizer)


def test_where_the_token_that_ends_a_text_begins_it_too_an_empty_prompt_is_that_token(
    gpt2: Path, tmp_path: Path
) -> None:
    """As OPT's tokenizer writes it: the start is no part of what is learned."""
    tokenizer = load_tokenizer(gpt2)
    start, ids = tokenizer.eos_token_id, tokenizer(" the bread")["input_ids"]
    parts = {"single": f"{tokenizer.eos_token} $A", "special_tokens": [(tokenizer.eos_token, start)]}
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(**parts)
    assert (tokenizer.bos_token_id, tokenizer(" the bread")["input_ids"]) == (start, [start, *ids])
    task = task_of("gsm8k", prompt={"text": "{question}", "completion": "{answer}"})
    split = prepared(task, tokenizer, Rows([[""], ["a"]], [" the bread", " the bread"], [0, 1]), tmp_path)
    assert [split.input_ids[0].tolist(), split.input_ids[1][0]] == [[start], start]
    assert [split.label_ids[i].tolist() for i in range(2)] == [[*ids, start]] * 2


@pytest.mark.parametrize("begins", [False, True])
def test_a_prompt_may_be_empty_in_every_row(gpt2: Path, tmp_path: Path, begins: bool) -> None:
    """Plain language modeling, whether or not the tokenizer puts a token before a text."""
    tokenizer = load_tokenizer(gpt2)
    if begins:
        parts = {"single": f"{tokenizer.eos_token} $A", "special_tokens": [(tokenizer.eos_token, 0)]}
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(**parts)
    task = task_of("gsm8k", prompt={"text": "", "completion": "{answer}"})
    prepared(task, tokenizer, Rows([["a"], ["b"]], ["the bread", "bread"], [0, 1]), tmp_path)
    check_lengths(tmp_path / "rows.arrow", Tokenizer(task, tokenizer, segments=False), "split 'test'")
    needs_text = Tokenizer(task_of("gsm8k"), tokenizer, segments=False)
    if begins:
        with pytest.raises(BenchError, match="split 'test': no row has a token left at 256"):
            check_lengths(tmp_path / "rows.arrow", needs_text, "split 'test'")
