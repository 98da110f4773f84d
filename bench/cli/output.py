"""What a command prints reaches every terminal: one with another encoding, none at all, a name that is no UTF-8."""

from __future__ import annotations

import codecs
import io
import sys
from contextlib import suppress

HANDLER = "bench.plain"
FIRST_BYTE, LAST_BYTE = "\udc80", "\udcff"  # as Python reads bytes of a name that are no text
PLAIN = {"−": "-", "–": "-", "—": "-", "×": "x", "±": "+-", "…": "...", "“": '"', "”": '"', "’": "'"}


def plain(error: UnicodeError) -> tuple[str | bytes, int]:
    """What is written for a letter that the encoding lacks: a similar one, a byte as it came in, else its number."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letter = error.object[error.start]
    if FIRST_BYTE <= letter <= LAST_BYTE:
        return bytes([ord(letter) - ord(FIRST_BYTE) + 0x80]), error.start + 1
    return PLAIN.get(letter) or letter.encode("ascii", "backslashreplace").decode(), error.start + 1


def print_any_letter() -> None:
    """No letter that this process prints ends it with an error: see `plain`. Stderr has such a way of its own."""
    codecs.register_error(HANDLER, plain)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=HANDLER)


def flush() -> None:
    """Write what is left to stdout and stderr. Either may be closed: by the reader of a pipe, or from the beginning."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(BrokenPipeError):  # of `bench plan paper | head`
            if stream is not None:  # of `bench check >&-`
                stream.flush()
