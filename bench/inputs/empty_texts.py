"""What a model reads of a text without any token, as GPT-2's tokenizer makes of an empty one.

A row of no token would be nothing but padding: its score would depend on the rows beside it. Models that put no token
before a text were trained on texts that follow one another with the token that ends a text between them, so that this
one begins a text, too. The lm-evaluation-harness puts it before an empty context for the same reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from bench.errors import BenchError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def with_a_token(rows: Iterable[list[int]], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """The token ids of each row; of one without any, the token that begins a text, or else the one that ends it.

    Raises BenchError where a row needs such a token and the tokenizer has neither.
    """
    start = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    kept = []
    for ids in rows:
        if not ids and start is None:
            raise BenchError("a text has no token, and the backbone's tokenizer has none that begins or ends a text")
        kept.append(ids or [start])
    return kept
