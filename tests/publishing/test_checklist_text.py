"""A checklist as Markdown and LaTeX, whatever characters its texts have."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import html5lib
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from bench.config.resolve import load_study
from bench.publishing.checklists.checklist import make_checklist
from bench.publishing.checklists.model import Checklist, Section, item
from bench.publishing.checklists.text import escape, latex, markdown

EXAMPLE = Path(__file__).parents[2] / "results" / "demo" / "example"
HOSTILE = "50% of {x} & y_1 # $2 ~ ^ \\ <b> | [a] *b* `c` \"d\" 'e' -- --- _f_ ü ẞ → 漢 ² ± ρ × − \\input{/etc/passwd}"
ODD = Checklist(
    HOSTILE, (HOSTILE,), (Section(HOSTILE, HOSTILE, (item(HOSTILE, HOSTILE), item(HOSTILE, [HOSTILE, HOSTILE]))),)
)


def compiled(text: str, folder: Path) -> None:
    (folder / "checklist.tex").write_text(text)
    (folder / "paper.tex").write_text(r"\documentclass{article}\begin{document}\input{checklist}\end{document}")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "paper.tex"]
    process = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    assert process.returncode == 0, process.stdout[-3000:]
    assert "Missing character" not in process.stdout


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX here: apt-get install texlive-latex-recommended")
def test_latex_compiles(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE / "cells", tmp_path / "results" / "demo" / "cells")
    compiled(latex(make_checklist(load_study("demo"), tmp_path / "results")), tmp_path)
    compiled(latex(ODD), tmp_path)


def test_latex_has_no_command_of_a_text() -> None:
    text = latex(ODD)
    assert r"\input" not in text
    assert text.count("{") == text.count("}")
    assert all(line.isascii() for line in text.splitlines())
    assert escape("a--b") == "a-{}-b"
    assert escape("naïve") == "naive"
    assert escape("漢") == "U+6F22"


@given(st.text())
def test_escaped_text_is_ascii_in_one_line_and_its_braces_are_balanced(text: str) -> None:
    escaped = escape(text)
    assert escaped.isascii()
    assert escaped.isprintable()
    bare = escaped.replace(r"\{", "").replace(r"\}", "")
    assert bare.count("{") == bare.count("}")


def test_markdown_shows_texts_as_they_are() -> None:
    html = MarkdownIt("commonmark").render(markdown(ODD))
    root = html5lib.parse(html, namespaceHTMLElements=False)
    shown = ["".join(element.itertext()).strip() for element in root.findall(".//li")]
    assert shown[0] == HOSTILE
    assert root.find(".//h1").text == HOSTILE
    assert root.find(".//b") is None
    assert root.find(".//em") is None
    assert shown.count(HOSTILE) == 3  # the note, and the two of the list


def test_names_with_underscores_are_not_cluttered() -> None:
    found = markdown(Checklist("t", (), (Section("s", "a", (item("learning_rate", "0.1"),)),)))
    assert "- **learning_rate**: 0.1" in found
