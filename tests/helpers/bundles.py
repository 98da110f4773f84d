"""Bundles that somebody changed: other members, with hashes and a seal that fit them."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.files import canonical_json
from bench.publishing.bundles.archive import write_archive
from bench.publishing.bundles.manifest import parse_manifest


def members(file: Path) -> dict[str, bytes]:
    """The content of each member of the bundle `file`."""
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def sealed(file: Path, manifest_says: Mapping[str, Any] | None = None, **changes: bytes | None) -> Path:
    """A bundle with other members beside a manifest that says so: what somebody would send who knows the format.

    None takes a member away. `manifest_says`: other fields of the manifest.
    """
    content = {**members(file), **changes}
    kept = {name: data for name, data in content.items() if data is not None}
    manifest = parse_manifest(kept.pop("manifest.json"), file)
    files = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for name, data in sorted(kept.items())
    }
    text = canonical_json({**manifest.model_dump(mode="json"), "files": files, **(manifest_says or {})})
    out = file.with_name("changed.zip")
    write_archive(out, {**kept, "manifest.json": text}, first="manifest.json")
    return out


def without(file: Path, folder: str) -> dict[str, bytes | None]:
    """The changes by which the bundle `file` has no member below `folder`, and its crate names none."""
    content = members(file)
    data = json.loads(content["ro-crate-metadata.json"])
    data["@graph"] = [entity for entity in data["@graph"] if f"/{folder}/" not in entity["@id"]]
    for entity in data["@graph"]:
        if parts := entity.get("hasPart"):
            entity["hasPart"] = [part for part in parts if f"/{folder}/" not in part["@id"]]
    gone: dict[str, bytes | None] = {name: None for name in content if f"/{folder}/" in name}
    return {**gone, "ro-crate-metadata.json": canonical_json(data)}
