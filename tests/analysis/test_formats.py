"""The written files are valid: LaTeX compiles, Markdown parses as tables, HTML has no parse error."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import html5lib
import pytest
from helpers.records import study_of, write_troubled_study
from markdown_it import MarkdownIt

from bench.analysis.build import make_page, make_tables
from bench.analysis.published import Place, Published, PublishedNumber
from bench.analysis.stats.comparison import Comparison, Contrast
from bench.analysis.stats.paired import Interval
from bench.analysis.tables.model import Column, Table, number_entry, summary_entry, text_entry
from bench.analysis.tables.published import published_entry
from bench.analysis.tables.render import FORMATS, markdown
from bench.analysis.tables.scores import difference_entry
from bench.analysis.wording import two_digits
from bench.config.metric_facts import metric_facts

PLACE: Place = ("cola", "mcc", "validation", "small")
CONTRAST = Contrast("cola", "validation", "mcc", "small", "lora", "adalora")
MINUS_ZERO = PublishedNumber("a paper", "cola", "", "mcc", "validation", "lora", "small", -0.001, "", "")
HOSTILE = "50% of {x} & y_1 # $2 ~ ^ \\ <b> | [a]"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables and page of 80 cells: ok, failed and missing ones, with notes full of special characters."""
    study = study_of(2)
    results = tmp_path_factory.mktemp("results")
    study_folder = write_troubled_study(study, results, HOSTILE, (HOSTILE,))
    make_tables(study, results)
    make_page(study, results)
    return study_folder


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX here: apt-get install texlive-latex-recommended")
def test_latex_compiles(folder: Path, tmp_path: Path) -> None:
    tables = sorted((folder / "tables").glob("*.tex"))
    assert len(tables) >= 6
    inputs = "\n".join(rf"\input{{{file}}}\clearpage" for file in tables)
    (tmp_path / "paper.tex").write_text(
        rf"\documentclass{{article}}\usepackage{{booktabs,graphicx}}\begin{{document}}{inputs}\end{{document}}"
    )
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "paper.tex"]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert process.returncode == 0, process.stdout[-3000:]
    assert "Overfull \\hbox" not in process.stdout
    assert "Missing character" not in process.stdout


def test_markdown_parses_as_tables(folder: Path) -> None:
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


def test_markdown_escapes_html() -> None:
    columns = (Column("task", head=True), Column(HOSTILE, HOSTILE))
    table = Table("x", "title", columns, ((text_entry(HOSTILE), text_entry(HOSTILE)),), (HOSTILE,))
    html = MarkdownIt("commonmark").enable("table").render(markdown(table))
    assert "<b>" not in html
    root = html5lib.parse(html, namespaceHTMLElements=False)
    texts = ["".join(part.itertext()) for part in [*root.iter("th"), *root.iter("td"), *root.iter("li")]]
    assert texts == ["task", f"{HOSTILE}, {HOSTILE}", HOSTILE, HOSTILE, HOSTILE]


@pytest.mark.parametrize("suffix", FORMATS)
def test_no_number_is_minus_zero(suffix: str) -> None:
    comparison = Comparison(
        CONTRAST, metric_facts("mcc"), (0, 1), -0.00001, Interval(-1e-5, 1e-9, 0, 1, -4e-5, -1e-5, 0.5), None, 1.0, ()
    )
    entries = (
        number_entry(-0.001),
        number_entry(-0.0),
        summary_entry([-0.001, -0.003]),
        difference_entry(comparison),
        published_entry(Published((MINUS_ZERO,), {}), PLACE, "lora"),
    )
    columns = tuple(Column(str(number)) for number in range(len(entries)))
    text = FORMATS[suffix](Table("x", "title", columns, (entries,)))
    assert not re.search(r"(-|−|\$-\$)0(\.0*)?(?![\d.])", text), text


def test_a_rough_number_has_two_digits() -> None:
    numbers = {6.53: "6.5", 40.9: "41", 207.3: "210", 0.0432: "0.043", 0.996: "1.0", 9.96: "10", 99.6: "100", 0.0: "0"}
    assert {number: two_digits(number) for number in numbers} == numbers


def test_html_has_no_parse_error(folder: Path) -> None:
    files = [folder / "report.html", *(folder / "tables").glob("*.html")]
    for file in files:
        parser = html5lib.HTMLParser(strict=True)
        root = parser.parse(file.read_text())
        identities = [element.get("id") for element in root.iter() if element.get("id")]
        assert len(identities) == len(set(identities)), file


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [
        (-0.00004, 0.02, "+1.000 [−0.004, +2.000]"),
        (0.00004, 0.02, "+1.000 [+0.004, +2.000]"),
        (-0.02, -0.000004, "+1.0000 [−2.0000, −0.0004]"),
        (-1e-9, 0.02, "+1.00 [+0.00, +2.00]"),  # so near that no table need tell
        (0.0, 0.02, "+1.00 [+0.00, +2.00]"),
        (-0.01, 0.02, "+1.00 [−1.00, +2.00]"),
    ],
)
def test_a_bound_shows_on_which_side_of_it_zero_is(low: float, high: float, shown: str) -> None:
    interval = Interval(0.01, 1e-9, 0, 2, low, high, 0.05)
    comparison = Comparison(CONTRAST, metric_facts("mcc"), (0, 1, 2), 0.01, interval, None, 1.0, ())
    assert difference_entry(comparison, usual=3).text == shown


LABELS = ("β-LoRA, Ω", "LoRA | x", "(IA)³ → r² ≠ ∞", "50% & _#$~^\\{}<>")


def test_labels_with_greek_letters_and_bars_are_latex() -> None:
    """In TeX's own encoding a bar is a dash, which stands for a missing value."""
    columns = tuple(Column(label, head=True) for label in LABELS)
    text = FORMATS[".tex"](Table("x", "title", columns, (tuple(map(text_entry, LABELS)),)))
    assert r"$\beta$-LoRA, $\Omega$" in text
    assert r"LoRA \textbar{} x" in text
    assert "|" not in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX here: apt-get install texlive-latex-recommended")
def test_labels_with_greek_letters_compile(tmp_path: Path) -> None:
    columns = tuple(Column(label, head=True) for label in (*LABELS, "αβγδεζηθικλμνξπρσςτυφχψωΓΔΘΛΞΠΣΥΦΨΩ"))
    (tmp_path / "t.tex").write_text(FORMATS[".tex"](Table("x", "title", columns, ())))
    document = r"\documentclass{article}\usepackage{booktabs,graphicx}\begin{document}\input{t}\end{document}"
    (tmp_path / "paper.tex").write_text(document)
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "paper.tex"]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert process.returncode == 0, process.stdout[-3000:]
