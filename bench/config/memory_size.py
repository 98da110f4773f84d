"""Sizes of a GPU's memory as people write them: '40GiB', '24 GB'."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema

UNITS = {"MiB": 2**20, "GiB": 2**30, "MB": 10**6, "GB": 10**9}
_FORM = r"\s*(\d+(?:\.\d+)?)\s*([MG]i?B)\s*"


def bytes_of(text: str) -> int:
    """Bytes of '40GiB', '24 GB' or '16384MiB'. Raises ValueError."""
    found = re.fullmatch(_FORM, text)
    if not found or float(found[1]) <= 0:
        raise ValueError(f"expected a size such as 40GiB (units: {', '.join(UNITS)}), found {text!r}")
    return int(float(found[1]) * UNITS[found[2]])


def _checked(text: str) -> str:
    bytes_of(text)
    return text


MemorySize = Annotated[str, AfterValidator(_checked), WithJsonSchema({"type": "string", "pattern": f"^{_FORM}$"})]
