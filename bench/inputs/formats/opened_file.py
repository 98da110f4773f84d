"""Open a file of rows: unpack it, and refuse what is not what its name says."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from bench.errors import BenchError
from bench.inputs.locate.split_files import READ, Kind

# The first bytes of files that are none of rows, and of formats that are not text.
_POINTER = b"version https://git-lfs.github.com/spec/"
UNREADABLE = (OSError, EOFError, UnicodeError, NotImplementedError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
_MAGIC = {
    b"PAR1": "parquet",
    b"ARROW1": "arrow",
    b"\x1f\x8b": "gz",
    b"PK\x03\x04": "zip",
    b"BZh": "bz2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zst",
}


@contextmanager
def opened(file: Path) -> Iterator[tuple[IO[bytes], str]]:
    """The unpacked bytes of `file`, and its format. Raises BenchError where they are not what the name says."""
    import pyarrow

    kind = Kind.of(file.name)
    if kind is None:
        raise BenchError(f"{file}: is of no format that is read ({READ})")
    try:
        with ExitStack() as stack:
            raw = stack.enter_context(file.open("rb"))
            _check_start(file, raw, kind.packing or kind.format)
            form = kind.format
            stream: IO[bytes] = raw
            if kind.packing == "zip":
                stream, form = _member(stack, file, form)
            elif kind.packing:
                stream = stack.enter_context(_unpacked(raw, kind.packing))
            if kind.packing and form in ("parquet", "arrow"):  # which are read from their ends
                stream, packed = stack.enter_context(tempfile.TemporaryFile()), stream
                shutil.copyfileobj(packed, stream)
                stream.seek(0)
            elif kind.packing:
                stream = io.BufferedReader(cast(io.RawIOBase, stream))
            if kind.packing:
                _check_start(file, stream, form)
            yield stream, form
    except (*UNREADABLE, pyarrow.ArrowException) as error:
        raise BenchError(f"{file}: no readable {kind.packing or kind.format} file: {error}") from error


def _unpacked(raw: IO[bytes], packing: str) -> IO[bytes]:
    if packing == "zst":
        import pyarrow

        return cast(IO[bytes], pyarrow.CompressedInputStream(pyarrow.PythonFile(raw, mode="r"), "zstd"))
    opener: Any = {"gz": gzip.open, "bz2": bz2.open, "xz": lzma.open}[packing]
    return cast(IO[bytes], opener(raw))


def _member(stack: ExitStack, file: Path, form: str) -> tuple[IO[bytes], str]:
    """The one file of rows in a zip archive, and its format."""
    archive = stack.enter_context(zipfile.ZipFile(file))
    members: list[tuple[zipfile.ZipInfo, Kind | None]] = []
    for info in archive.infolist():
        path = PurePosixPath(info.filename)
        if not info.is_dir() and not any(part.startswith((".", "__")) for part in path.parts):
            members.append((info, Kind.of(path.name)))
    of_rows = [(info, kind) for info, kind in members if kind and not kind.packing]
    if len(of_rows) != 1:
        found = ", ".join(info.filename for info, _ in members[:5]) or "nothing"
        raise BenchError(f"{file}: expected one file of rows in the archive, found {found}")
    ((info, kind),) = of_rows
    if info.flag_bits & 1:
        raise BenchError(f"{file}: {info.filename} is encrypted")
    if form and form != kind.format:
        raise BenchError(f"{file}: holds {info.filename}, which is not {form} as the archive's name says")
    return stack.enter_context(archive.open(info)), kind.format


def _check_start(file: Path, stream: IO[bytes], expected: str) -> None:
    """Raises BenchError where the first bytes tell that this is another kind of file than `expected`."""
    if isinstance(stream, io.BufferedReader):
        start = stream.peek(1024)[:1024]
    else:
        start = stream.read(1024)
        stream.seek(0)
    if not start:
        raise BenchError(f"{file}: is empty (0 bytes)")
    if start.startswith(_POINTER):
        raise BenchError(f"{file}: is a pointer of Git LFS and not the file itself: fetch it with `git lfs pull`")
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype html", b"<html")):
        raise BenchError(f"{file}: is a web page (HTML) and not {expected}: download the file itself")
    found = next((form for magic, form in _MAGIC.items() if start.startswith(magic)), "")
    # Arrow has a second form, the stream, which starts with 0xFFFFFFFF.
    if expected == "arrow" and not found and start.startswith(b"\xff\xff\xff\xff"):
        found = "arrow"
    if found != (expected if expected in _MAGIC.values() else ""):
        raise BenchError(f"{file}: is not {expected}, as its name says{f', but {found}' if found else ''}")
