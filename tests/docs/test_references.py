"""Every link, file name and module that the documentation names is there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "slurm").glob("*.md")])

# A word in backticks is taken for a file of the repository if it begins with one of these folders.
FOLDERS = ("bench/", "benchmarks/", "docs/", "slurm/", "tests/", "workflow/", ".ci/", "results/demo/example")
GENERATED = re.compile(r"[<*]|NAME|\bDIR\b")  # a placeholder, not a file


def ids(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def tokens_of(page: Path) -> list[tuple[str, str]]:
    """What a page refers to: ('link', address) and ('code', text in backticks)."""
    found = []
    for block in MarkdownIt("commonmark").enable("table").parse(page.read_text()):
        for token in block.children or []:
            if token.type == "link_open":
                found.append(("link", str(token.attrs["href"])))
            elif token.type == "code_inline":
                found.append(("code", token.content))
    return found


def anchors_of(page: Path) -> set[str]:
    """The anchors of the headings of a page, as forges make them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_links_lead_somewhere(page: Path) -> None:
    for kind, address in tokens_of(page):
        if kind != "link" or "://" in address:
            continue
        path, _, anchor = address.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {address}"
        assert target.is_relative_to(ROOT), f"{page.name}: {address}"
        if anchor:
            assert anchor in anchors_of(target), f"{page.name}: {address}"


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_named_files_are_there(page: Path) -> None:
    if page.name == "CHANGELOG.md":  # it names what was removed, too
        return
    for kind, text in tokens_of(page):
        if kind == "code" and text.startswith(FOLDERS) and " " not in text and not GENERATED.search(text):
            assert (ROOT / text.partition("::")[0]).exists(), f"{page.name}: {text}"


def test_every_page_is_in_the_index() -> None:
    linked = {address for kind, address in tokens_of(ROOT / "docs" / "README.md") if kind == "link"}
    assert {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"} <= linked


def test_the_three_errands_need_one_file_each() -> None:
    """Someone who looks for these finds the file by name in docs/architecture.md, and what they look for in it."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    for file, content in {
        "bench/engine/schedule.py": "def budget",
        "bench/engine/allocators/names.py": "ALLOCATORS",
        "bench/records/io.py": "def write_record",
    }.items():
        assert f"({'../' + file})" in page
        assert content in (ROOT / file).read_text()


def test_the_citation_names_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()  # required by version 1.2.0 of the format
    assert citation["cff-version"] == "1.2.0"
    assert citation["authors"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert f"## [{project['version']}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_workflow_catalog_finds_what_it_looks_for() -> None:
    """As its list of workflows asks for: docs/own-studies.md."""
    readme = (ROOT / "README.md").read_text().lower()
    assert "snakemake" in readme
    assert "workflow" in readme
    assert (ROOT / "Snakefile").is_file()
    assert list((ROOT / "workflow" / "rules").glob("*.smk"))
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert usage.keys() == {"software-stack-deployment", "report"}
    assert usage["software-stack-deployment"].keys() == {"conda", "apptainer", "apptainer+conda"}
