"""A published bundle: a zip of a study's records with a manifest of SHA-256, checked and unpacked."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path, PurePosixPath

from bench.errors import BenchError
from bench.files import digest
from bench.paths import MANIFEST, RESULTS


def unpack(file: Path, folder: Path) -> Path:
    """Verify the bundle `file`, unpack it into `folder`, and return the folder of results inside.

    Raises BenchError that names the file at fault: one that is missing, is not in the manifest, has another SHA-256, or
    would lie outside of `folder`.
    """
    try:
        with zipfile.ZipFile(file) as bundle:
            names = [entry.filename for entry in bundle.infolist() if not entry.is_dir()]
            if MANIFEST not in names:
                raise BenchError(f"{file}: no bundle: it has no {MANIFEST} with the SHA-256 of its files")
            members = json.loads(bundle.read(MANIFEST))["files"]
            manifest = {name: str(member["sha256"]) for name, member in members.items()}
            _check_names(file, names, manifest)
            for name in manifest:
                content = bundle.read(name)
                if digest(content) != manifest[name]:
                    raise BenchError(f"{file}: {name} is not the file that was bundled (its SHA-256 differs)")
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
    except (zipfile.BadZipFile, ValueError, LookupError, TypeError, AttributeError, NotImplementedError) as error:
        raise BenchError(f"{file}: no readable bundle: {error}") from error
    results = folder / RESULTS
    if not results.is_dir():
        raise BenchError(f"{file}: no bundle of a study: it has no folder {RESULTS}/")
    return results


def _check_names(file: Path, names: list[str], manifest: dict[str, str]) -> None:
    listed = set(manifest)
    for name in sorted(set(names) - {MANIFEST} - listed):
        raise BenchError(f"{file}: {name} is not in its {MANIFEST}")
    for name in sorted(listed):
        if name not in names:
            raise BenchError(f"{file}: {name} is missing, though its {MANIFEST} names it")
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name:
            raise BenchError(f"{file}: {name} would lie outside of the folder that it is unpacked into")
