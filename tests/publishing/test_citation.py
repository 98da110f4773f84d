"""Who is named in a bundle, as CITATION.cff and RO-Crate say it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from rocrate.rocrate import ROCrate

from bench.errors import BenchError
from bench.publishing.bundles.citation import Credits, author, citation, day, project_authors
from bench.publishing.bundles.crate import crate

ORCID = "https://orcid.org/0000-0002-1825-0097"
ADA, GROUP = author(f"Lovelace, Ada <{ORCID}>"), author("The engine's friends")
CREDITS = Credits("Notes: on yes", [ADA, GROUP], "", "2026-01-31", "CC-BY-4.0")


def test_authors_are_people_and_groups() -> None:
    assert yaml.safe_load(citation(CREDITS, "0.2.0"))["authors"] == [
        {"family-names": "Lovelace", "given-names": "Ada", "orcid": ORCID},
        {"name": "The engine's friends"},
    ]
    made = ROCrate(json.loads(crate(CREDITS, "about", {"a b.json": 3}, "0.2.0")))
    ada, group = made.root_dataset["author"]
    assert (ada.type, ada.id, ada["name"]) == ("Person", ORCID, "Ada Lovelace")
    assert (group.type, group["name"]) == ("Organization", "The engine's friends")
    assert made.root_dataset["license"] == "https://spdx.org/licenses/CC-BY-4.0"
    assert [entity.id for entity in made.data_entities] == ["a%20b.json"]


def test_title_and_day_stay_texts_in_yaml() -> None:
    data = yaml.safe_load(citation(CREDITS, "0.2.0"))
    assert (data["title"], data["date-released"], data["license"]) == ("Notes: on yes", "2026-01-31", "CC-BY-4.0")


def test_without_authors_of_its_own_a_bundle_takes_those_of_the_project(tmp_path: Path) -> None:
    assert project_authors(tmp_path) is None
    (tmp_path / "CITATION.cff").write_text("authors:\n- {family-names: Noether, given-names: Emmy}\n")
    assert project_authors(tmp_path) == [{"family-names": "Noether", "given-names": "Emmy"}]


@pytest.mark.parametrize(
    "text", ["", " ", "<https://orcid.org/0000-0002-1825-0097>", "Ada\nLovelace", "Ada <ada@x.org>"]
)
def test_what_is_no_author_is_refused(text: str) -> None:
    with pytest.raises(BenchError, match=r"--author .*: expected 'Family, Given'"):
        author(text)


@pytest.mark.parametrize("text", ["2026-02-31", "2026-13-01", "20260131", "2026-W05-6", "yesterday"])
def test_what_is_no_day_is_refused(text: str) -> None:
    assert day("2028-02-29") == "2028-02-29"
    with pytest.raises(BenchError, match=f"--date {text}: expected a day"):
        day(text)
