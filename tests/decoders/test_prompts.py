"""What a decoder reads and learns of a row: templates, the border between prompt and completion, cut ends, options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.small_models import save_small_decoder

from bench.config.catalog import WORKFLOW, load_catalog
from bench.config.prompt import Prompt
from bench.config.task import Task
from bench.errors import BenchError
from bench.inputs.formats.rows import Rows
from bench.inputs.prompts import OPTION_CHARACTERS, OPTION_IDS, OPTION_LENGTHS, PromptEncoder, check_prompts
from bench.inputs.reader import load_tokenizer

ROW = "The baker has 3 maps and buys 4 more."
SOLUTION = "3 + 4 = 7\n#### 7"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = tmp_path_factory.mktemp("decoder")
    save_small_decoder(model, chat=True)
    return model


def task(name: str = "gsm8k", prompt: dict[str, Any] | None = None, **recipe: Any) -> Task:
    """A task of the catalog, whose prompt and recipe have these keys in place of their own."""
    known = load_catalog(WORKFLOW).tasks[name].item
    assert known.prompt is not None
    changed = known.recipe.model_copy(update=recipe)
    asked = Prompt(**{**known.prompt.model_dump(), **(prompt or {})})
    return known.model_copy(update={"recipe": changed, "prompt": asked})


def encoded(folder: Path, about: Task, rows: Rows) -> dict[str, list[Any]]:
    columns = PromptEncoder(about, load_tokenizer(folder))(rows)
    return {name: values.to_pylist() for name, values in columns.items()}


def rows_of(text: str = ROW, target: str = SOLUTION) -> Rows:
    return Rows([[text]], [target], [5])


def test_prompt_and_completion_are_the_tokens_of_the_whole_text_with_an_end(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    row = encoded(folder, task(), rows_of())
    (prompt,), (completion,) = row["input_ids"], row["label_ids"]
    assert prompt[0] == tokenizer.bos_token_id
    assert completion[-1] == tokenizer.eos_token_id
    assert [*prompt, *completion[:-1]] == tokenizer(f"Question: {ROW}\nAnswer: {SOLUTION}")["input_ids"]
    assert tokenizer.decode(prompt, skip_special_tokens=True) == f"Question: {ROW}\nAnswer:"
    assert tokenizer.decode(completion, skip_special_tokens=True) == f" {SOLUTION}"


def test_a_token_over_the_border_belongs_to_neither(folder: Path) -> None:
    """Where they would share one in the whole text, the prompt is what generation reads all the same."""
    tokenizer = load_tokenizer(folder)
    about = task(prompt={"text": "{question}", "completion": "{answer}"})
    halves = [(ROW[:cut], ROW[cut:]) for cut in range(1, len(ROW))]
    columns = encoded(folder, about, Rows([[head] for head, _ in halves], [tail for _, tail in halves], [*range(36)]))
    assert any(tokenizer(head)["input_ids"] != tokenizer(ROW)["input_ids"][: len(head)] for head, _ in halves)
    for (head, tail), prompt, completion in zip(halves, columns["input_ids"], columns["label_ids"], strict=True):
        assert prompt == tokenizer(head)["input_ids"]
        assert tokenizer.decode(completion, skip_special_tokens=True) == tail


@pytest.mark.parametrize("cut", ["start", "end"])
def test_a_long_prompt_is_cut_where_the_task_says(folder: Path, cut: str) -> None:
    whole = encoded(folder, task(), rows_of())["input_ids"][0]
    short = encoded(folder, task(prompt={"cut": cut}, max_length=9), rows_of())["input_ids"][0]
    assert short == (whole[:9] if cut == "end" else [whole[0], *whole[-8:]])


def test_a_completion_that_is_cut_has_no_end(folder: Path) -> None:
    whole = encoded(folder, task(), rows_of())["label_ids"][0]
    assert encoded(folder, task(max_target_length=4), rows_of())["label_ids"][0] == whole[:4]


def test_a_chat_template_frames_the_prompt(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    row = encoded(folder, task(prompt={"chat": True, "text": "{question}"}), rows_of())
    framed = f"<s>user: {ROW}\nassistant:"
    assert tokenizer.decode(row["input_ids"][0]) == framed
    assert row["input_ids"][0].count(tokenizer.bos_token_id) == 1
    assert tokenizer.decode(row["label_ids"][0]) == f" {SOLUTION}</s>"


def test_options_are_framed_alike_and_have_no_end(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    options = ["the baker", "a doctor", "at home"]
    row = encoded(folder, task("arc_easy"), Rows([["Who?"]], [1], [0], [options]))
    lengths, ids = row[OPTION_LENGTHS][0], row[OPTION_IDS][0]
    spelled = []
    for length in lengths:
        spelled.append(tokenizer.decode(ids[:length]))
        ids = ids[length:]
    assert spelled == [f" {option}" for option in options]
    assert not ids
    assert tokenizer.decode(row["label_ids"][0]) == " a doctor"
    assert row[OPTION_CHARACTERS][0] == [9, 8, 7]


def test_what_can_not_be_learned_or_compared_is_refused(folder: Path) -> None:
    with pytest.raises(
        BenchError, match=r"task 'arc_easy', row 3: an option has \d+ tokens, above .*max_target_length, 2"
    ):
        encoded(folder, task("arc_easy", max_target_length=2), Rows([["Who?"]], [0], [3], [["the baker", "home"]]))
    tokenizer = load_tokenizer(folder)
    tokenizer.chat_template = None
    with pytest.raises(BenchError, match=r"prompt.chat is true, but the backbone's tokenizer has no chat template"):
        check_prompts(task(prompt={"chat": True}), tokenizer)
    tokenizer.eos_token = None
    with pytest.raises(BenchError, match="no token that ends a text"):
        check_prompts(task(), tokenizer)
