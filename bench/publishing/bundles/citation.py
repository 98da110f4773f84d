"""CITATION.cff of a bundle: how its records are cited, in the Citation File Format 1.2.0."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from bench.config.yaml_source import parse_yaml, yaml_text
from bench.errors import BenchError
from bench.publishing.bundles.manifest import CITATION

CFF_VERSION = "1.2.0"
SOFTWARE = "rankbench: a reproducible benchmark harness for parameter-efficient fine-tuning"
SOFTWARE_AUTHORS = [{"name": "The rankbench authors"}]
_ORCID = re.compile(r"(?P<name>[^<]*[^<\s])\s*<(?P<orcid>https://orcid\.org/\d{4}-\d{4}-\d{4}-\d{3}[\dX])>")
_SPDX = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True)
class Credits:
    """Who made the records, what they are called, under which license (its SPDX id) they are, and when they were made.

    authors: as CITATION.cff has them, with family-names and given-names, or a name. authors_from: who named them.
    """

    title: str
    authors: list[dict[str, str]]
    authors_from: str
    date: str
    license: str | None = None

    @property
    def names(self) -> str:
        return "; ".join(name_of(one) for one in self.authors)


def author(text: str) -> dict[str, str]:
    """An author from the command line, with an ORCID iD or without.

    >>> author("Lovelace, Ada <https://orcid.org/0000-0002-1825-0097>")
    {'family-names': 'Lovelace', 'given-names': 'Ada', 'orcid': 'https://orcid.org/0000-0002-1825-0097'}
    >>> author("The rankbench authors")
    {'name': 'The rankbench authors'}
    """
    match = _ORCID.fullmatch(text.strip())
    name, orcid = (match["name"], {"orcid": match["orcid"]}) if match else (text.strip(), {})
    if not name or not name.isprintable() or "<" in name:
        raise BenchError(
            f"--author {text!r}: expected 'Family, Given', 'Family, Given <https://orcid.org/0000-0000-0000-0000>', or "
            "the name of a group"
        )
    family, comma, given = name.partition(",")
    if comma and family.strip() and given.strip():
        return {"family-names": family.strip(), "given-names": given.strip(), **orcid}
    return {"name": name, **orcid}


def name_of(author: dict[str, str]) -> str:
    """'Ada Lovelace', or the name of a group."""
    return author.get("name") or f"{author.get('given-names', '')} {author.get('family-names', '')}".strip()


def project_authors(project: Path) -> list[dict[str, str]] | None:
    """The authors in the CITATION.cff of the project folder `project`; None where it has none. Raises BenchError."""
    file = project / CITATION
    if not file.is_file():
        return None
    data, _ = parse_yaml(file.read_text(encoding="utf-8"), file)
    authors = data.get("authors")
    known = isinstance(authors, list) and all(isinstance(one, dict) and one for one in authors)
    return [{str(key): str(value) for key, value in one.items()} for one in authors or []] if known else None


def day(text: str) -> str:
    """`text`, if it is a day as 2026-01-31. Raises BenchError."""
    try:
        if not _DAY.fullmatch(text):  # fromisoformat also takes 20260131 and 2026-W05-6
            raise ValueError
        date.fromisoformat(text)
    except ValueError as error:
        raise BenchError(f"--date {text}: expected a day, such as 2026-01-31") from error
    return text


def spdx(text: str) -> str:
    """`text`, if it can be the id of a license at SPDX. Raises BenchError."""
    if not _SPDX.fullmatch(text):
        raise BenchError(f"--license {text}: expected the id of a license at SPDX, such as CC-BY-4.0")
    return text


def citation(credits: Credits, version: str) -> bytes:
    """The file: the records as a data set, with this harness (of `version`) as what they were made with."""
    data: dict[str, Any] = {
        "cff-version": CFF_VERSION,
        "message": "If you use these records, please cite them as below.",
        "title": credits.title,
        "type": "dataset",
        "authors": credits.authors,
        "date-released": credits.date,
        **({"license": credits.license} if credits.license else {}),
        "references": [{"type": "software", "title": SOFTWARE, "authors": SOFTWARE_AUTHORS, "version": version}],
    }
    return yaml_text(data).encode()


def check_citation(content: bytes) -> None:
    """Raises BenchError where the bytes of a CITATION.cff lack what the format asks for."""
    data, _ = parse_yaml(content.decode(), Path(CITATION))
    for key in ("cff-version", "message", "title", "authors"):
        if not data.get(key):
            raise BenchError(f"{CITATION}: key {key} is missing")
