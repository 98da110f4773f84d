"""The keys of a decoder's task: what is missing, misspelled or out of place is said before anything runs."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from bench.config.catalog import WORKFLOW, load_catalog
from bench.config.extract import After, answer_in
from bench.config.task import Task


def changed(name: str, **values: Any) -> Task:
    known = load_catalog(WORKFLOW).tasks[name].item.model_dump(exclude_defaults=True)
    return Task(**{key: value for key, value in {**known, **values}.items() if value is not None})


PROMPT = {"text": "{question}", "completion": "{answer}"}


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("gsm8k", {"prompt": None}, "a causal-lm task needs the block `prompt`, by which it reads a row"),
        ("gsm8k", {"prompt": {**PROMPT, "text": "{qestion}"}}, r"prompt.text names {qestion}.*mean 'question'"),
        ("gsm8k", {"prompt": {**PROMPT, "text": "{answer}"}}, "prompt.text names {answer}, but expected question"),
        ("gsm8k", {"prompt": {**PROMPT, "completion": "yes"}}, "'yes' does not hold what is to be learned"),
        ("gsm8k", {"prompt": {**PROMPT, "text": "{question"}}, "expected '}' before end of string"),
        ("gsm8k", {"prompt": {**PROMPT, "text": "{question:>9}"}}, "expected the name of a column alone in braces"),
        ("gsm8k", {"generation": None}, "a causal-lm task needs the block `generation`"),
        ("gsm8k", {"prefix": "solve: "}, "says in `prompt` what stands before a text"),
        ("gsm8k", {"metrics": ["rouge1"]}, "extract is for exact_match"),
        ("gsm8k", {"metrics": ["accuracy"]}, "'accuracy' is no metric of causal-lm"),
        (
            "gsm8k",
            {"metrics": ["perplexity"], "extract": None},
            r"\['perplexity'\] generates nothing: remove the block",
        ),
        ("gsm8k", {"metrics": ["exact_match", "perplexity"], "generation": None}, "needs the block `generation`"),
        ("arc_easy", {"metrics": ["perplexity"]}, "no metric of multiple-choice: perplexity is that of the tokens of"),
        (
            "cola",
            {"metrics": ["perplexity"]},
            "no metric of classification: perplexity is that of the tokens of target",
        ),
        ("arc_easy", {"labels": ["a", "b"]}, "takes its options from a column"),
        ("arc_easy", {"generation": {"beams": 1}}, "generates nothing"),
        ("boolq", {"labels": None, "data": None}, "at least two labels|Field required"),
        ("arc_easy_encoder", {"prompt": PROMPT}, "a scored-choice task has no `prompt`"),
        ("arc_easy_encoder", {"metrics": ["accuracy_normalized"]}, "is no metric of scored-choice"),
        ("gsm8k", {"extract": "last_numbr"}, r"expected last_number, letter .*found 'last_numbr' .*'last_number'"),
        ("cola", {"prompt": PROMPT}, "a classification task has no `prompt`"),
        ("cnn_dailymail", {"generation": {"stop": ["."]}}, "generation.stop is for decoders"),
    ],
)
def test_a_task_that_can_not_be_run_says_why(name: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        changed(name, **values)


@pytest.mark.parametrize(
    ("text", "extract", "answer"),
    [
        ("3 + 4 = 7\n#### 7", After(after="####"), "7"),
        ("a #### 1 b #### 1,234.50 \nthen 9", After(after="####"), "1234.5"),
        ("no mark 7", After(after="####"), None),
        ("####", After(after="####"), None),
        ("it costs $1,200. Or 0.50 of it.", "last_number", "0.5"),
        ("-3 and then -0.0", "last_number", "0"),
        ("1,23 is no thousand", "last_number", "23"),
        ("none", "last_number", None),
        ("10-3 is 7, as is 17-10", "last_number", "10"),  # a hyphen between numbers is no sign
        ("x = -5.", "last_number", "-5"),
        ("it falls to \u221240.50 degrees", "last_number", "-40.5"),  # typeset with a minus sign
        ("12,3456", "last_number", "3456"),
        ("version 1.2.3", "last_number", "3"),
        ("#### $-5", After(after="####"), "-5"),
        ("#### -$5.0", After(after="####"), "-5"),
        ("1" * 40 + ".", None, "1" * 40),
        ("The answer is (B) iron.", "letter", "B"),
        ("A1 or BA, then C", "letter", "C"),
        ("nothing", "letter", None),
        (" two words ", None, "two words"),
        ("1200.00", None, "1200"),
    ],
)
def test_the_answer_of_a_text(text: str, extract: Any, answer: str | None) -> None:
    assert answer_in(text, extract) == answer
