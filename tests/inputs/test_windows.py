"""Questions and contexts as windows, worked out by hand, and answers that are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.rows import all_rows
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from bench.config.cell import DataChoice
from bench.config.task import Task
from bench.errors import BenchError
from bench.inputs.formats.rows import Rows
from bench.inputs.sources import SourceSplit, read_source
from bench.inputs.windows import (
    NO_ANSWER,
    OUTSIDE,
    PASSAGE,
    SPAN,
    TOKEN_ENDS,
    TOKEN_STARTS,
    WindowEncoder,
    check_windows,
)

CONTEXT = "Ann saw Bob, and then Bob ran  home."  # ten tokens: the comma and the dot are two
WORDS = ["ann", "saw", "bob", ",", "and", "then", "ran", "home", ".", "who", "?", "sub", "##way"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
FILES = {"train": "train.jsonl", "dev": "train.jsonl"}
Answer = dict[str, list[Any]]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """WordPiece without case. It makes a pair `[CLS] question [SEP] context [SEP]`, as BERT's does."""
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *WORDS])}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.BertPreTokenizer()
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    named = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    names = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=made, model_input_names=names, **named)


def task(max_length: int = 10, **answers: Any) -> Task:
    return Task.model_validate(
        {
            "name": "own",
            "kind": "question-answering",
            "data": {"files": FILES, "columns": {"text": ["question", "context"], "target": "answers"}},
            "metrics": ["exact_match", "f1"],
            "answers": {"stride": 2, **answers},
            "recipe": {"max_length": max_length},
        }
    )


def answer(text: str, context: str = CONTEXT) -> Answer:
    return {"text": [text], "answer_start": [context.index(text)]}


def encoded(
    made: PreTrainedTokenizerFast, about: Task, answers: list[Answer], context: str = CONTEXT, question: str = "Who?"
) -> list[dict[str, Any]]:
    rows = Rows([[question, context] for _ in answers], answers, list(range(7, 7 + len(answers))))
    columns = WindowEncoder(about, made, segments=True)(rows)
    return [
        dict(zip(columns, row, strict=True)) for row in zip(*(c.to_pylist() for c in columns.values()), strict=True)
    ]


def words_of(made: PreTrainedTokenizerFast, window: dict[str, Any]) -> str:
    return " ".join(made.convert_ids_to_tokens(window["input_ids"]))


def test_a_long_context_is_read_in_windows_that_overlap(tokenizer: PreTrainedTokenizerFast) -> None:
    """Ten tokens less three special ones and two of the question leave five for the context, two of them shared."""
    windows = encoded(tokenizer, task(), [answer("Bob ran  home")])
    assert [words_of(tokenizer, window) for window in windows] == [
        "[CLS] who ? [SEP] ann saw bob , and [SEP]",
        "[CLS] who ? [SEP] , and then bob ran [SEP]",
        "[CLS] who ? [SEP] bob ran home . [SEP]",
    ]
    assert [window[PASSAGE] for window in windows] == ["Ann saw Bob, and", ", and then Bob ran", "Bob ran  home."]
    # In no window but the last one is the answer whole; the others learn the start token.
    assert [window[SPAN] for window in windows] == [[0, 0], [0, 0], [4, 6]]
    assert [window[NO_ANSWER] for window in windows] == [0, 0, 0]
    assert [window["row"] for window in windows] == [7, 7, 7]
    assert {window["target"] for window in windows} == {'["Bob ran  home"]'}
    last = windows[-1]
    assert last["token_type_ids"] == [0] * 4 + [1] * 5
    assert last[TOKEN_STARTS] == [OUTSIDE] * 4 + [0, 4, 9, 13] + [OUTSIDE]
    assert last[TOKEN_ENDS] == [OUTSIDE] * 4 + [3, 7, 13, 14] + [OUTSIDE]


def test_an_answer_in_two_windows_is_learned_in_both(tokenizer: PreTrainedTokenizerFast) -> None:
    windows = encoded(tokenizer, task(), [answer("Bob ran"), answer("Ann")])
    assert [window[SPAN] for window in windows] == [[0, 0], [7, 8], [4, 5], [4, 4], [0, 0], [0, 0]]
    assert [window["row"] for window in windows] == [7] * 3 + [8] * 3


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("way", [5, 5]),  # a piece of a word
        ("bway ran", [4, 6]),  # from within a piece: the fewest tokens that cover it
        ("Subw", [4, 5]),
        (" ran ", [6, 6]),  # its blanks are in no token
        ("ubway  ran", [4, 6]),
    ],
)
def test_an_answer_between_tokens(tokenizer: PreTrainedTokenizerFast, text: str, span: list[int]) -> None:
    context = "Subway  ran ." if "  " in text else "Subway ran ."
    (window,) = encoded(tokenizer, task(16), [answer(text, context)], context)
    assert words_of(tokenizer, window) == "[CLS] who ? [SEP] sub ##way ran . [SEP]"
    assert window[SPAN] == span


def test_no_answer_is_the_start_token(tokenizer: PreTrainedTokenizerFast) -> None:
    windows = encoded(tokenizer, task(no_answer=True), [{"text": [], "answer_start": []}])
    assert [(window[SPAN], window["target"]) for window in windows] == [([0, 0], "[]")] * 3


def test_a_question_is_never_cut(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(BenchError, match=r"row 7: its question has 5 tokens, which leave 2 .*answers.stride, 2"):
        encoded(tokenizer, task(), [answer("Ann")], question="Who saw Bob then?")
    short = encoded(tokenizer, task(), [answer("Bob", "Bob.")], "Bob.", "Who saw Bob then?")  # needs one window
    assert [window[SPAN] for window in short] == [[7, 7]]
    with pytest.raises(BenchError, match=r"answers.stride is 7, but a window has 7 tokens"):
        check_windows(task(stride=7), tokenizer)
    check_windows(task(stride=6), tokenizer)


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., SourceSplit]:
    """A function that reads two rows of a file: a right one, and one with these answers."""
    monkeypatch.chdir(tmp_path)

    def read(answers: Any, **settings: Any) -> SourceSplit:
        rows = [{"question": "Who?", "context": CONTEXT, "answers": value} for value in (answer("Ann"), answers)]
        Path(FILES["train"]).write_text("\n".join(map(json.dumps, rows)))
        return read_source(task(**settings), DataChoice(source="hub"), None).splits["train"]

    return read


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"text": ["Bob"], "answer_start": [9]}, "'Bob' is not what stands there at 9: 'ob,'"),
        ({"text": ["Bob"], "answer_start": [-1]}, "'Bob' is not what stands there at -1: ''"),
        ({"text": [], "answer_start": []}, "should hold an answer, found none.*no_answer: true"),
        ({"text": [" "], "answer_start": [3]}, "an answer that is empty"),
        ({"text": ["Bob"], "answer_start": []}, "one answer_start for each text"),
        ({"text": ["Bob"], "answer_start": ["8"]}, "should hold the place of each answer's first character, found '8'"),
        ("Bob", "should hold .*text.*answer_start.*, found 'Bob'"),
    ],
)
def test_answers_that_are_refused(train: Callable[..., SourceSplit], answers: Any, said: str) -> None:
    with pytest.raises(BenchError, match=rf"(?s)split 'train', row 1: column 'answers' .*{said}.*line 2"):
        train(answers)


def test_a_question_without_an_answer_where_there_may_be_some(train: Callable[..., SourceSplit]) -> None:
    none: Answer = {"text": [], "answer_start": []}
    assert all_rows(train(none, no_answer=True)).targets == [answer("Ann"), none]
