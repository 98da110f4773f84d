"""Extract: which part of a text is its answer, so that an explanation before it counts neither for nor against it."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field

from bench.config.types import Frozen

_NUMBER = re.compile(r"-?\$?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|-?\$?\.\d+", re.ASCII)
_LETTER = re.compile(r"(?<![^\W_])([A-Z])(?![^\W_])")


class After(Frozen):
    """The answer is what follows the last `after` in a text, up to the end of the line."""

    after: Annotated[str, Field(min_length=1, description="What stands before the answer, such as '####'.")]


# last_number: the last number of the text. letter: its first capital letter that stands alone, such as B in "(B) iron".
Extract = Literal["last_number", "letter"] | After


def answer_in(text: str, extract: Extract | None) -> str | None:
    """The answer that `text` gives; None where it gives none. Without `extract` it is the text without outer blanks.

    A number comes in one spelling, without commas, dollar signs and needless zeros, wherever the whole answer is one.

    >>> answer_in("6 * 200 = 1200. #### $1,200.00", After(after="####"))
    '1200'
    """
    match extract:
        case After(after=mark):
            _, found, rest = text.rpartition(mark)
            answer = rest.strip().partition("\n")[0] if found else ""
        case "last_number":
            answer = (_NUMBER.findall(text) or [""])[-1]
        case "letter":
            letter = _LETTER.search(text)
            answer = letter[1] if letter else ""
        case _:
            return _spelled(text.strip())
    return _spelled(answer.strip()) or None


def _spelled(answer: str) -> str:
    """`answer`, in the one spelling of its number where it is a number."""
    plain = answer.removesuffix(".")
    if not _NUMBER.fullmatch(plain):
        return answer
    number = Decimal(plain.replace("$", "").replace(",", ""))
    return f"{number.normalize():f}" if number else "0"
