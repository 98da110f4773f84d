"""The portions of texts that a tokenizer takes at once, and the type of what it makes of them."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow

IDS = pyarrow.list_(pyarrow.int32())
# A tokenizer keeps about 200 bytes per token until the rows of a call are returned, cut-off tokens included.
CALL_ROWS = 256  # rows in one call
CALL_CHARACTERS = 2**17  # characters in one call, of which a single row may have more


def portions(texts: list[list[str]]) -> Iterator[list[list[str]]]:
    """The rows, one or more texts each, in the portions that a tokenizer takes at once."""
    call: list[list[str]] = []
    characters = 0
    for row in texts:
        length = sum(map(len, row))
        if call and (len(call) == CALL_ROWS or characters + length > CALL_CHARACTERS):
            yield call
            call, characters = [], 0
        call.append(row)
        characters += length
    if call:
        yield call
