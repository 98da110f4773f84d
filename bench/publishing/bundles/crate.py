"""ro-crate-metadata.json: what is in a bundle, as RO-Crate 1.1 says it to archives and search engines.

https://www.researchobject.org/ro-crate/specification/1.1/
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from bench.errors import BenchError
from bench.files import canonical_json
from bench.publishing.bundles.citation import SOFTWARE, Credits, name_of
from bench.publishing.bundles.manifest import CRATE

VERSION = "1.1"
TYPES = {
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".parquet": "application/vnd.apache.parquet",
    ".csv": "text/csv",
    ".md": "text/markdown",
    ".html": "text/html",
    ".tex": "application/x-tex",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".yaml": "application/yaml",
    ".cff": "application/yaml",
    ".lock": "text/plain",
}
UNKNOWN = "application/octet-stream"
SOFTWARE_ID, MAKING_ID = "#rankbench", "#training-and-evaluation"


def crate(credits: Credits, description: str, sizes: Mapping[str, int], version: str) -> bytes:
    """The metadata of a bundle whose other members have these sizes in bytes; `version` is this harness's."""
    from rocrate.model.contextentity import ContextEntity
    from rocrate.model.person import Person
    from rocrate.rocrate import ROCrate

    made = ROCrate(version=VERSION)
    root = made.root_dataset
    root["name"], root["description"] = credits.title, description
    root["datePublished"] = credits.date  # the library's own is that of the clock
    root["license"] = _license(credits.license)
    authors = []
    for number, author in enumerate(credits.authors, start=1):
        person = "family-names" in author
        identifier = author.get("orcid", f"#author-{number}")
        facts = {"@type": "Person" if person else "Organization", "name": name_of(author)}
        authors.append(made.add((Person if person else ContextEntity)(made, identifier, facts)))
    root["author"] = authors
    facts = {"@type": "SoftwareApplication", "name": SOFTWARE, "softwareVersion": version}
    made.add(ContextEntity(made, SOFTWARE_ID, facts))
    for name in sorted(sizes):
        kind = TYPES.get(PurePosixPath(name).suffix, UNKNOWN)
        made.add_file(dest_path=name, properties={"contentSize": str(sizes[name]), "encodingFormat": kind})
    action = {"@type": "CreateAction", "name": "training and evaluation"}
    links = {"instrument": {"@id": SOFTWARE_ID}, "result": {"@id": root.id}}
    root["mentions"] = made.add(ContextEntity(made, MAKING_ID, {**action, **links}))
    return canonical_json(made.metadata.generate())


def check_crate(content: bytes, members: Iterable[str]) -> None:
    """Raises BenchError where the metadata can't be read by the library, or names other files than `members`."""
    from rocrate.rocrate import ROCrate

    try:
        data: dict[str, Any] = json.loads(content)
        if not data:  # of which the library would make a new crate
            raise ValueError("is empty")
        found = {str(entity.id) for entity in ROCrate(data).data_entities}
    except Exception as error:  # the library raises what it meets in a file that was tampered with
        raise BenchError(f"{CRATE}: is no RO-Crate: {type(error).__name__}: {error}") from error
    wanted = {quote(name) for name in members} - {CRATE}
    for name in sorted(found ^ wanted):
        raise BenchError(f"{CRATE}: {name} is {'not in the bundle' if name in found else 'missing in it'}")


def _license(spdx: str | None) -> Any:
    return f"https://spdx.org/licenses/{spdx}" if spdx else "No license is stated: ask the authors."
