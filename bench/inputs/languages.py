"""The languages of a translation, for tokenizers that write them as a token: mBART-50, NLLB, M2M100.

A source begins with the code of its language, and a target with that of its own, which generation forces as the first
token. A tokenizer that knows no languages, such as T5's or BART's, is told none: one task serves models of both sorts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.config.task import Task
from bench.errors import BenchError, nearest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_CODE = re.compile(r"[a-z]{2,3}_[A-Za-z]{2,4}")  # how NLLB's special tokens for languages look


def set_languages(task: Task, tokenizer: PreTrainedTokenizerBase) -> None:
    """Let `tokenizer` read and write the languages of `task`, where it knows languages.

    Raises BenchError where the task names none that it has, or where it does not write them at the start of a target.
    """
    codes = languages_of(task, tokenizer)
    if codes is None:
        return
    tokenizer.src_lang, tokenizer.tgt_lang = codes
    if tokenizer(text_target="a")["input_ids"][0] != _ids(tokenizer)[codes[1]]:
        raise BenchError(
            f"task {task.name!r}: {type(tokenizer).__name__} writes the language behind a text and not before it, so "
            "that no first token can be forced; use a model such as mBART-50, NLLB or M2M100"
        )


def languages_of(task: Task, tokenizer: PreTrainedTokenizerBase) -> tuple[str, str] | None:
    """The codes of source and target that `tokenizer` has; None where the two have no use for languages.

    Raises BenchError where the tokenizer needs languages and the task names none, or none that it has.
    """
    if task.kind != "translation" or not hasattr(tokenizer, "set_src_lang_special_tokens"):
        return None
    known = _ids(tokenizer)
    if task.languages is None:
        raise BenchError(
            f"task {task.name!r}: the backbone's tokenizer writes languages, so the task needs `languages` with the "
            f"codes of `source` and `target`, such as {', '.join(sorted(known)[:3])}"
        )
    both = {"source": task.languages.source, "target": task.languages.target}
    source, target = (_known(task, side, codes, known) for side, codes in both.items())
    return source, target


def first_token(task: Task, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The id of the token with which every target begins, that of its language; None where there is no such token."""
    codes = languages_of(task, tokenizer)
    return None if codes is None else _ids(tokenizer)[codes[1]]


def _known(task: Task, side: str, codes: Sequence[str], known: dict[str, int]) -> str:
    found = next((code for code in codes if code in known), None)
    if found is not None:
        return found
    alike = [code for code in known if code[:2] == codes[0][:2]]
    named = " or ".join(repr(code) for code in codes)
    raise BenchError(
        f"task {task.name!r}: languages.{side}: the backbone's tokenizer has no language {named}"
        f"{nearest(codes[0], alike or known)}"
    )


def _ids(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """The id of each language's token, by the language's code."""
    ids = getattr(tokenizer, "lang_code_to_id", None)
    if ids is None:
        codes = [str(token) for token in tokenizer.all_special_tokens if _CODE.fullmatch(str(token))]
        ids = dict(zip(codes, tokenizer.convert_tokens_to_ids(codes), strict=True))
    return {code: id_ for code, id_ in ids.items() if id_ is not None and id_ != tokenizer.unk_token_id}
