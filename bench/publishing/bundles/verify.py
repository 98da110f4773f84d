"""Check a bundle to its last byte, unpack it, and make its tables again from the records in it."""

from __future__ import annotations

import tempfile
from pathlib import Path, PurePosixPath

from bench.errors import BenchError
from bench.files import clear_when_full, move_into
from bench.paths import MANIFEST, RECORD, RESULTS, StudyPaths
from bench.publishing.bundles.citation import check_citation
from bench.publishing.bundles.crate import check_crate
from bench.publishing.bundles.manifest import CITATION, CRATE, LOCKED, README, Manifest, parse_manifest
from bench.publishing.bundles.sealed import Sealed, opened
from bench.publishing.bundles.specs import study_in
from bench.records.io import MAX_BYTES, parse_record

MOST_BYTES = 200_000_000  # of the manifest and the crate, which have 250 bytes per member
ALWAYS = (README, CITATION, CRATE, LOCKED)


def verify(file: Path) -> Manifest:
    """The manifest of the bundle `file`, all of which holds.

    Raises BenchError that names the member that does not, or `file` where its structure as a zip is damaged.
    """
    return _verified(file, None)


def unpack(file: Path, folder: Path) -> Path:
    """Verify the bundle `file`, unpack it into `folder`, which is empty or made, and return the results in it.

    Raises BenchError as `verify` does; `folder` is left as it was then.

    Example:
        >>> results = unpack(Path("demo.zip"), Path("somewhere"))
        >>> record = read_record(StudyPaths(results, "demo").cell("cola/lora/small/seed-0").record)
    """
    _unpacked(file, folder)
    return folder / RESULTS


def remake_tables(file: Path, into: Path) -> tuple[list[str], list[str]]:
    """Make the tables of the bundle `file` again from its records, into the folder `into`, which is empty or made.

    Returns the names of all tables' files, and of those whose bytes are others than in the bundle, or that are in one
    of the two alone. Raises BenchError as `verify` does.
    """
    from bench.analysis.build import make_tables  # late, as pandas takes its time

    check_empty(into)
    into.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".tables-", dir=into.parent) as place:
        folder = Path(place) / "bundle"
        manifest = _unpacked(file, folder)
        tables, aside = StudyPaths(folder / RESULTS, manifest.study).tables, Path(place) / "bundled"
        if tables.is_dir():  # a bundle that was edited may have none
            tables.rename(aside)
        make_tables(study_in(folder, manifest.study, manifest.overrides), folder / RESULTS)
        bundled, made = _contents(aside), _contents(tables)
        move_into(tables, into)
    names = sorted(bundled.keys() | made.keys())
    return names, [name for name in names if bundled.get(name) != made.get(name)]


def _contents(folder: Path) -> dict[str, bytes]:
    """The content of each file below `folder` by its name there."""
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def _unpacked(file: Path, folder: Path) -> Manifest:
    check_empty(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unpacked-", dir=folder.parent) as place:
        inner = Path(place) / "bundle"
        inner.mkdir()
        with clear_when_full(folder.parent, file.stat().st_size if file.is_file() else 0):
            manifest = _verified(file, inner)
        move_into(inner, folder)
    return manifest


def check_empty(folder: Path) -> None:
    """Raises BenchError unless `folder` is empty or missing."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BenchError(f"{folder}: expected a folder that is empty or does not exist")


def _verified(file: Path, folder: Path | None) -> Manifest:
    """Verify, and write the members to `folder` if there is one."""
    with opened(file) as sealed:
        if MANIFEST not in sealed.entries:
            raise sealed.fault(MANIFEST, "is missing")
        manifest = parse_manifest(sealed.read(MANIFEST, MOST_BYTES), file)
        for name in sorted(sealed.entries.keys() ^ {*manifest.files, *ALWAYS, MANIFEST}):
            raise sealed.fault(name, f"is not named in {MANIFEST}" if name in sealed.entries else "is missing")
        for name in sealed.entries:
            found, member = sealed.copy(name, folder), manifest.files.get(name)
            if member is not None and found != (member.sha256, member.bytes):
                raise sealed.fault(name, f"does not have the SHA-256 that {MANIFEST} has")
            _check_content(sealed, name, manifest)
        records = sum(PurePosixPath(name).name == RECORD for name in sealed.entries)
        if records != manifest.records:
            raise sealed.fault(MANIFEST, f"says {manifest.records} records, and the bundle has {records}")
        sealed.check_seal()
    return manifest


def _check_content(sealed: Sealed, name: str, manifest: Manifest) -> None:
    """Raises BenchError where a member whose hash is right is not what it must be."""
    try:
        if name == README:
            sealed.read(name, MOST_BYTES).decode()
        elif name == CITATION:
            check_citation(sealed.read(name, MOST_BYTES))
        elif name == CRATE:
            check_crate(sealed.read(name, MOST_BYTES), manifest.files)
        elif PurePosixPath(name).name == RECORD:
            _check_record(name, sealed.read(name, MAX_BYTES), manifest)
    except UnicodeDecodeError as error:
        raise sealed.fault(name, f"is no text in UTF-8: {error}") from error
    except BenchError as error:
        said = str(error)
        raise error if said.startswith(f"{sealed.file}: ") else BenchError(f"{sealed.file}: {said}") from error


def _check_record(name: str, content: bytes, manifest: Manifest) -> None:
    """A record has its own checksums, stands where its cell belongs, and names the hashes of the files beside it."""
    record = parse_record(content, Path(name))
    paths = StudyPaths(RESULTS, manifest.study).cell(record.cell.id)
    if paths.record.as_posix() != name or record.cell.study != manifest.study:
        raise BenchError(f"{name}: is the record of {record.cell.id} of the study {record.cell.study!r}")
    for beside, sha256 in record.files.items():
        member = manifest.files.get((paths.folder / beside).as_posix())
        if member is not None and member.sha256 != sha256:
            raise BenchError(f"{name}: names another SHA-256 of {beside} than {MANIFEST}")
