"""What preparing makes of rows belongs to a format, whose number stands in the names of prepared folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer as Tokens
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast

from bench.config.catalog import load_catalog
from bench.config.cell import DataChoice
from bench.config.task import Task
from bench.files import digest_json
from bench.inputs import cache_keys
from bench.inputs.formats.rows import Rows
from bench.inputs.targets import target
from bench.inputs.tokenize import Tokenizer

# By format: what it makes of the rows below. Where this changes, so do rows that are in caches: raise DATA_FORMAT, so
# that they are prepared again, and write the digest of the new format here.
MADE = {4: "edc36872c04d"}


def made() -> list[dict[str, Any]]:
    """Rows of several kinds as columns, by a tokenizer of a few words that puts no token before a text."""
    words = ["<end>", "a", "b", "c", "d"]
    tokens = Tokens(WordLevel({word: number for number, word in enumerate(words)}, unk_token="a"))
    tokens.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokens, eos_token="<end>", pad_token="<end>")
    texts, options = [["a b"], [""], ["d c b a"]], [["b", "c d"], ["a", "b"], ["c", "a"]]
    tasks = {
        "classification": ({"labels": ["true", "false"]}, Rows(texts, [0, 1, 0], [0, 1, 2])),
        "causal-lm": (
            {"prompt": {"text": "{t}", "completion": " {y}"}, "metrics": ["perplexity"]},
            Rows(texts, ["a", "b c", "d"], [0, 1, 2]),
        ),
        "multiple-choice": (
            {"prompt": {"text": "{t}", "completion": " {option}"}, "options": "o"},
            Rows(texts, [0, 1, 1], [0, 1, 2], options),
        ),
    }
    columns = []
    for kind, (changes, rows) in tasks.items():
        given: dict[str, Any] = {"metrics": ["accuracy"], **changes}
        named = {"text": ["t"], "target": "y", **({"options": given.pop("options")} if "options" in given else {})}
        data = {"hub": "a/b", "columns": named}
        task = Task(name="t", kind=kind, data=data, recipe={"max_length": 3, "max_target_length": 2}, **given)
        columns.append(Tokenizer(task, tokenizer, segments=False)(rows).to_pydict())
        if task.labels:
            columns.append({"targets": [target(task, value) for value in (True, False, "true", 1, "0")]})
    return columns


def test_other_rows_have_another_format() -> None:
    assert {cache_keys.DATA_FORMAT: digest_json(made())[:12]} == MADE


def test_another_format_has_other_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    catalog = load_catalog()
    given = catalog.tasks["cola"].item, catalog.backbones["minilm"].item, DataChoice(source="hub"), None, tmp_path
    before = cache_keys.data_folder(*given)
    monkeypatch.setattr(cache_keys, "DATA_FORMAT", cache_keys.DATA_FORMAT + 1)
    assert cache_keys.data_folder(*given) != before
