"""What is written is valid: LaTeX compiles, Markdown is read as tables, HTML without a parse error."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import html5lib
import pytest
from helpers.records import study_of, write_troubled_study
from markdown_it import MarkdownIt

from bench.analysis.build import make_page, make_tables
from bench.analysis.tables.model import Column, Table, text_entry
from bench.analysis.tables.render import markdown

SPITEFUL = "50% of {x} & y_1 # $2 ~ ^ \\ <b> | [a]"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables and page of 80 cells: good ones, failed ones, a missing one, notes full of signs."""
    study = study_of(2)
    results = tmp_path_factory.mktemp("results")
    made = write_troubled_study(study, results, SPITEFUL, (SPITEFUL,))
    make_tables(study, results)
    make_page(study, results)
    return made


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX here: apt-get install texlive-latex-recommended")
def test_latex_compiles(folder: Path, tmp_path: Path) -> None:
    tables = sorted((folder / "tables").glob("*.tex"))
    assert len(tables) >= 6
    inputs = "\n".join(rf"\input{{{file}}}\clearpage" for file in tables)
    (tmp_path / "paper.tex").write_text(
        rf"\documentclass{{article}}\usepackage{{booktabs,graphicx}}\begin{{document}}{inputs}\end{{document}}"
    )
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "Overfull \\hbox" not in done.stdout
    assert "Missing character" not in done.stdout


def test_markdown_is_read_as_tables(folder: Path) -> None:
    files = sorted((folder / "tables").glob("*.md"))
    assert len(files) >= 6
    for file in files:
        root = html5lib.parse(
            MarkdownIt("commonmark").enable("table").render(file.read_text()), namespaceHTMLElements=False
        )
        rows = root.findall(".//table//tr")
        assert len(rows) > 1, file
        assert len({len(row) for row in rows}) == 1, file
        assert all("|" not in "".join(cell.itertext()) for row in rows[:1] for cell in row)


def test_nothing_in_markdown_is_read_as_html() -> None:
    columns = (Column("task", head=True), Column(SPITEFUL, SPITEFUL))
    table = Table("x", "title", columns, ((text_entry(SPITEFUL), text_entry(SPITEFUL)),), (SPITEFUL,))
    made = MarkdownIt("commonmark").enable("table").render(markdown(table))
    assert "<b>" not in made
    root = html5lib.parse(made, namespaceHTMLElements=False)
    texts = ["".join(part.itertext()) for part in [*root.iter("th"), *root.iter("td"), *root.iter("li")]]
    assert texts == ["task", f"{SPITEFUL}, {SPITEFUL}", SPITEFUL, SPITEFUL, SPITEFUL]


def test_html_has_no_parse_error(folder: Path) -> None:
    files = [folder / "report.html", *(folder / "tables").glob("*.html")]
    for file in files:
        parser = html5lib.HTMLParser(strict=True)
        root = parser.parse(file.read_text())
        identities = [element.get("id") for element in root.iter() if element.get("id")]
        assert len(identities) == len(set(identities)), file
