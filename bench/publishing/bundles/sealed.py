"""A bundle as a zip file that somebody sent: nothing in it is trusted before it is checked."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from bench.errors import BenchError
from bench.publishing.bundles.archive import MODE, SEAL, SEAL_BYTES, UNIX, copy, seal_of

MOST_RATIO = 300  # bytes per packed byte of a member; records and curves have 3 to 30
SMALL = 1 << 20  # bytes that may be packed to any size
UTF8 = 0x800  # the flag of a name that is not ASCII
# What reading a zip file raises where it is damaged.
DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, RuntimeError, ValueError)


@dataclass(frozen=True)
class Sealed:
    """An open bundle whose members have plain names, are plain files and unpack to no more than they may.

    `entries`: by name. Errors name the file and the member.
    """

    file: Path
    archive: zipfile.ZipFile
    entries: dict[str, zipfile.ZipInfo]

    def read(self, name: str, most: int) -> bytes:
        """The content of a member. Raises BenchError if it is damaged, or has more than `most` bytes."""
        if self.entries[name].file_size > most:
            raise self.fault(name, f"{self.entries[name].file_size:,} bytes; it may have {most:,}")
        with self._reading(name):
            return self.archive.read(self.entries[name])

    def copy(self, name: str, folder: Path | None) -> tuple[str, int]:
        """SHA-256 and size of a member, which is written to `folder` if there is one. Raises BenchError if damaged."""
        with self._reading(name), self.archive.open(self.entries[name]) as source:
            if folder is None:
                return copy(cast("BinaryIO", source), None)
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with (folder / name).open("xb") as target:
                return copy(cast("BinaryIO", source), target)

    def check_seal(self) -> None:
        """Raises BenchError where a byte of the file is not what it was; what stands in members is told first."""
        if seal_of(self.file) != self.archive.comment:
            raise BenchError(f"{self.file}: its structure as a zip file was changed, though each member is what it was")

    def fault(self, name: str, what: str) -> BenchError:
        return BenchError(f"{self.file}: {name}: {what}")

    @contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        try:
            yield
        except DAMAGED as error:
            if isinstance(error, OSError) and error.errno is not None:  # of this machine, such as a full disk
                raise
            raise self.fault(name, f"is damaged: {error}") from error


@contextmanager
def opened(file: Path) -> Iterator[Sealed]:
    """The bundle `file`. Raises BenchError where it is no zip file, or none that a bundle can be."""
    if not file.is_file():
        raise BenchError(f"{file}: no such file")
    try:
        archive = zipfile.ZipFile(file)
    except DAMAGED as error:
        raise BenchError(f"{file}: is no readable zip file: {error}") from error
    with archive:
        if not archive.comment.startswith(SEAL) or len(archive.comment) != SEAL_BYTES:
            raise BenchError(f"{file}: is no bundle, or its structure as a zip file was changed: it ends in no SHA-256")
        yield Sealed(file, archive, _entries(file, archive))


def _entries(file: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    entries: dict[str, zipfile.ZipInfo] = {}
    folded: set[str] = set()
    for entry in archive.infolist():
        name = entry.filename
        if fault := _fault(entry):
            raise BenchError(f"{file}: {name!r}: {fault}")
        if name.casefold() in folded:  # one file where case does not count
            raise BenchError(f"{file}: {name}: stands twice")
        entries[name] = entry
        folded.add(name.casefold())
    for name in entries:
        for folder in PurePosixPath(name.casefold()).parents:
            if str(folder) in folded:
                raise BenchError(f"{file}: {name}: stands below a file")
    if sum(entry.compress_size for entry in entries.values()) > file.stat().st_size:
        raise BenchError(f"{file}: its members share bytes: refused")
    return entries


def _fault(entry: zipfile.ZipInfo) -> str:
    """Why no bundle has such a member; empty if one may have it."""
    name = entry.filename
    path = PurePosixPath(name)
    if name != path.as_posix() or path.is_absolute() or ".." in path.parts or not name.isprintable():
        return "is no plain relative path"
    if "\\" in name or ":" in name or entry.orig_filename != name:
        return "is no plain relative path"
    if entry.create_system != UNIX or entry.external_attr != MODE << 16 or entry.flag_bits & ~UTF8:
        return "is a link, a folder, encrypted or otherwise no plain file"
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or entry.header_offset < 0:
        return "is packed as no bundle packs its members"
    if entry.file_size > max(SMALL, MOST_RATIO * entry.compress_size):
        return f"{entry.compress_size:,} bytes that would unpack to {entry.file_size:,}: refused"
    return ""
