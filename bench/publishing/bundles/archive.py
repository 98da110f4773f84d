"""A zip file whose bytes depend on nothing but the content of its members, and that shows each byte that was changed.

Names are sorted, times are fixed, every file has the same mode. The comment at the end of the file is the SHA-256 of
all that stands before it, since a zip has bytes that no checksum of its own covers.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

TIME = (1980, 1, 1, 0, 0, 0)  # the first that a zip can hold
MODE = 0o100644  # a plain file that everybody may read
UNIX = 3  # the system whose modes are meant
PACKED = (".png", ".parquet", ".safetensors")  # compressed already, or of random bits
SEAL = b"sha256:"
SEAL_BYTES = len(SEAL) + 64
_BLOCK = 1 << 20

Content = bytes | Path


def write_archive(file: Path, members: Mapping[str, Content], first: str) -> None:
    """Write the zip `file` with these members: `first`, then the others by name."""
    with zipfile.ZipFile(file, "w") as archive:
        for name in [first, *sorted(members.keys() - {first})]:
            _add(archive, name, members[name])
        archive.comment = SEAL + b"0" * 64
    seal = seal_of(file)
    with file.open("r+b") as stream:
        stream.seek(-SEAL_BYTES, 2)
        stream.write(seal)


def seal_of(file: Path) -> bytes:
    """The comment that the archive `file` should end with."""
    left = file.stat().st_size - SEAL_BYTES
    sha256 = hashlib.sha256()
    with file.open("rb") as stream:
        while left > 0 and (block := stream.read(min(_BLOCK, left))):
            sha256.update(block)
            left -= len(block)
    return SEAL + sha256.hexdigest().encode()


def is_sealed(file: Path) -> bool:
    """Whether `file` ends as an archive of this kind does."""
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - SEAL_BYTES))
        return stream.read(len(SEAL)) == SEAL


def copy(source: BinaryIO, target: BinaryIO | None) -> tuple[str, int]:
    """Read `source` to its end, into `target` if there is one. Returns the SHA-256 (hex) and the number of bytes."""
    sha256, size = hashlib.sha256(), 0
    while block := source.read(_BLOCK):
        sha256.update(block)
        size += len(block)
        if target is not None:
            target.write(block)
    return sha256.hexdigest(), size


def _add(archive: zipfile.ZipFile, name: str, content: Content) -> None:
    entry = zipfile.ZipInfo(name, TIME)
    entry.create_system, entry.external_attr = UNIX, MODE << 16
    entry.compress_type = zipfile.ZIP_STORED if name.endswith(PACKED) else zipfile.ZIP_DEFLATED
    entry.file_size = len(content) if isinstance(content, bytes) else content.stat().st_size
    with archive.open(entry, "w") as target:
        if isinstance(content, bytes):
            target.write(content)
        else:
            with content.open("rb") as source:
                copy(source, target)  # type: ignore[arg-type]  # zipfile types it as IO[bytes]
