"""Names of earlier versions that were renamed. A file that still uses one is refused with the new name."""

from __future__ import annotations

from collections.abc import Iterable

from bench.errors import nearest

# Old name -> new name, of YAML keys and of the methods that this repository ships.
RENAMED = {
    "regulariser": "regularizer",
    "double_quantisation": "double_quantization",
    "adalora_unregularised": "adalora_unregularized",
}


def suggestion(name: str, valid: Iterable[str]) -> str:
    """What to write in place of the unknown `name`: its new name if it was renamed, else the nearest valid name.

    >>> suggestion("regulariser", ["regularizer", "recipe"])
    " (renamed to 'regularizer')"
    >>> suggestion("epohs", ["epochs"])
    " (did you mean 'epochs'?)"
    """
    return f" (renamed to {RENAMED[name]!r})" if name in RENAMED else nearest(name, valid)
