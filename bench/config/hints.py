"""Why a value of a YAML file is not what its writer meant, and what to write in its place."""

from __future__ import annotations

import math
import re
from typing import Any

NUMBERS = ("int_type", "int_parsing", "float_type", "float_parsing")  # pydantic's names of faults


def hint(fault: str, value: Any) -> str:
    """What to append to the message of a fault (the name that pydantic gives it) at `value`; empty if nothing helps.

    >>> hint("int_type", "3")
    ': a number stands without quotes, write 3'
    >>> hint("string_type", False)
    ': YAML reads yes, no, on, off, true and false as truth values; write a text in quotes'
    """
    if fault in NUMBERS:
        return _of_number(fault, value)
    if fault == "bool_type":
        return ": write true or false, without quotes"
    if fault == "string_type":
        return _of_text(value)
    if fault in ("list_type", "tuple_type") and isinstance(value, str | int | float):
        return f": write a list, [{value}]"
    return ""


def _of_number(fault: str, value: Any) -> str:
    if isinstance(value, bool):
        return ": YAML reads yes, no, on, off, true and false as truth values; write a number"
    if isinstance(value, float) and math.isfinite(value) and value == math.trunc(value):
        return f": write {math.trunc(value)}, without a point or an exponent"
    if not isinstance(value, str):
        return ""
    plain = value.strip().replace("\u2212", "-").replace("\u2013", "-")  # a minus and a dash, as papers print them
    decimal = plain.replace(",", ".")
    try:
        number = float(decimal)
    except ValueError:
        return ""
    if not math.isfinite(number):
        return ""
    if plain != value.strip():
        return f": its minus is not the one of the keyboard, write {plain}"
    if decimal != plain:
        return f": decimals follow a point, write {decimal}"
    whole = fault.startswith("int") and number == math.trunc(number)
    short = f"{number:g}" if re.match(r"[-+]?0[0-9]", plain) else plain
    return f": a number stands without quotes, write {math.trunc(number) if whole else short}"


def _of_text(value: Any) -> str:
    if isinstance(value, bool):
        return ": YAML reads yes, no, on, off, true and false as truth values; write a text in quotes"
    if isinstance(value, int | float):
        return ": YAML reads it as a number; write a text in quotes"
    if value is None:
        return ": YAML reads null, ~ and nothing as no value; write a text in quotes"
    return ""
