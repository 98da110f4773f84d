"""Folders that a user names. A name that cannot be carried through, or a folder that cannot be written, is refused
before any job starts.
"""

from __future__ import annotations

import os
import re
import tempfile
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from bench.errors import BenchError

# Categories of Unicode: control characters, separators of lines and paragraphs, and bytes that are no UTF-8.
_NEVER = ("Cc", "Zl", "Zp", "Cs")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# What Snakemake replaces in the path of an output: a wildcard in braces, a variable in angle brackets.
READ_BY_SHELLS = re.compile(r"[$`'\"\\!]")
_PATTERN = re.compile(r"[{}]|<[a-z][a-z0-9_]*>")


def named_folder(option: str, text: str) -> Path:
    """The folder that `option` names, with ~ expanded. Any name does that a shell can pass on and a person can see.

    Raises BenchError if it is blank, an address, or holds line breaks or other control characters.
    """
    if not text.strip():
        raise BenchError(f"{option}={text!r}: is blank; expected the name of a folder")
    if any(unicodedata.category(letter) in _NEVER for letter in text):
        raise BenchError(f"{option}={text!r}: holds a line break, another control character or bytes that are no UTF-8")
    if _ADDRESS.match(text):
        raise BenchError(f"{option}={text}: is an address; expected a folder on this machine")
    # Two leading slashes have a meaning of their own in POSIX, and pathlib keeps them; nobody who writes them means it.
    return Path(re.sub(r"^//+", "/", os.path.expanduser(text)))


def refuse_pattern(option: str, folder: Path) -> None:
    """Raises BenchError if Snakemake would replace a part of the folder's name in the paths of its outputs."""
    if _PATTERN.search(str(folder)):
        raise BenchError(
            f"{option}={folder}: holds braces or <...>, which Snakemake replaces in every path; name another folder, "
            "or start Snakemake in this one"
        )


def refuse_for_cluster(folders: Iterable[Path]) -> None:
    """Raises BenchError if a folder's name would be changed, or executed, on the way to a job of a cluster.

    Snakemake writes the paths of a job's inputs into a command that two shells read.
    """
    for folder in folders:
        if READ_BY_SHELLS.search(str(folder)):
            raise BenchError(
                f"{folder}: holds a quote, $, `, ! or a backslash, which shells read on the way to a job of a cluster; "
                "name another folder, or run on this machine"
            )


def check_writable(option: str, folder: Path) -> None:
    """Raises BenchError if files cannot be written in `folder`, or if it is missing and cannot be made.

    It tries, in a temporary folder that it removes: permissions alone do not tell (of root, /proc, read-only disks).
    """
    try:
        if folder.exists() and not folder.is_dir():
            raise BenchError(f"{option}={folder}: is a file, not a folder")
        nearest = folder
        while not nearest.exists():
            if nearest.is_symlink():
                raise BenchError(f"{option}={folder}: {nearest} is a link to nothing")
            nearest = nearest.parent
        with tempfile.TemporaryDirectory(prefix=".rankbench-", dir=nearest) as place:
            (Path(place) / folder.relative_to(nearest)).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BenchError(f"{option}={folder}: cannot be written: {error.strerror}; name another folder") from error
