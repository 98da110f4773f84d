"""Extract: which part of a text is its answer, so that an explanation before it counts neither for nor against it."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from bench.config.types import Frozen
from bench.errors import nearest

MINUS = "\u2212"  # the minus sign of typeset texts
# A hyphen behind a letter, a digit or a bracket is no sign: 10-3 ends in 3.
_SIGN = rf"(?:(?<![\w)])[-{MINUS}])?"
_DIGITS = r"(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<!\d)\.\d+)"
_NUMBER = re.compile(rf"{_SIGN}\$?{_DIGITS}|\$[-{MINUS}]{_DIGITS}", re.ASCII)
_MINUSES = ("-", MINUS)
_LETTER = re.compile(r"(?<![^\W_])([A-Z])(?![^\W_])")


class After(Frozen):
    """The answer is what follows the last `after` in a text, up to the end of the line."""

    after: Annotated[str, Field(min_length=1, description="What stands before the answer, such as '####'.")]


def _known(value: Any) -> Any:
    if isinstance(value, dict | After) or value in NAMES:
        return value
    hint = nearest(value, NAMES) if isinstance(value, str) else ""
    raise ValueError(f"expected last_number, letter or {{after: MARK}}, found {value!r}{hint}")


# last_number: the last number of the text. letter: its first capital letter that stands alone, such as B in "(B) iron".
NAMES = ("last_number", "letter")
Extract = Annotated[Literal["last_number", "letter"] | After, BeforeValidator(_known)]


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
    sign = "-" if plain.startswith(_MINUSES) or plain[1:].startswith(_MINUSES) else ""
    whole, _, fraction = plain.strip(f"$-{MINUS}").replace(",", "").partition(".")
    # Not by float or Decimal, which round: two long numbers that differ in the last digit are not equal.
    whole, fraction = whole.lstrip("0") or "0", fraction.rstrip("0")
    number = f"{whole}.{fraction}" if fraction else whole
    return number if number == "0" else sign + number
