"""Tables fit where they are read: the width of a page in LaTeX, and a terminal of 80 to 120 columns."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from helpers.records import sets_of, study_of, write_study, write_troubled_study
from rich.cells import cell_len

from bench.analysis.build import make_tables
from bench.analysis.tables.model import Column, Table, text_entry
from bench.analysis.tables.tex_width import COLUMN_GAP, SIZES, TEXT_WIDTH, size_of, text_width
from bench.cli.app import main

needs_latex = pytest.mark.skipif(
    shutil.which("pdflatex") is None, reason="no LaTeX here: apt-get install texlive-latex-recommended"
)
COMPARISONS = ("lora_adalora", "lora_adalora_metrics", "methods", "methods_metrics")
SEEDS = 3
MOST_OVERFULL = 10.0  # points
TEXTS = (
    "0123456789",
    "+12.34 [−10.98, +76.54]",
    "CNN/DailyMail",
    "QLoRA + AdaLoRA",
    "mean of r and ρ ≈",
    "MNLI, mismatched",
)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 120 cells: five tasks, four methods, two budgets, three seeds."""
    study, results = study_of(SEEDS), tmp_path_factory.mktemp("results")
    folder = write_study(study, results, lambda cell: 0.7 + 0.02 * cell.seed + 0.01 * len(cell.method.name))
    make_tables(study, results)
    return folder / "tables"


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    study, results = study_of(2), tmp_path_factory.mktemp("results")
    folder = write_troubled_study(study, results, "out of luck")
    make_tables(study, results)
    return folder / "tables"


def overfull(files: list[Path], folder: Path, size: str = "") -> list[float]:
    """By how many points the boxes of these tables exceed the text width of LaTeX's class article."""
    inputs = "\n".join(rf"\input{{{file}}}\clearpage" for file in files)
    (folder / "paper.tex").write_text(
        rf"\documentclass{{article}}\usepackage{{booktabs,graphicx}}{size}\begin{{document}}{inputs}\end{{document}}"
    )
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "paper.tex"]
    process = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    assert process.returncode == 0, process.stdout[-3000:]
    return [float(points) for points in re.findall(r"Overfull \\hbox \(([\d.]+)pt", process.stdout)]


@needs_latex
@pytest.mark.parametrize("of", ["tables", "troubled"])
def test_every_table_fits_the_width_of_a_page(of: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(of)
    assert max(overfull(sorted(folder.glob("*.tex")), tmp_path), default=0.0) <= MOST_OVERFULL


def test_the_comparisons_fit_in_a_size_that_can_be_read(tables: Path) -> None:
    for name in COMPARISONS:
        text = (tables / f"{name}.tex").read_text()
        assert "\\resizebox" not in text, name
        assert re.search(r"^\{\\(small|footnotesize|scriptsize)\\", text, re.MULTILINE), name


@needs_latex
def test_the_estimate_of_a_width_is_never_too_small(tmp_path: Path) -> None:
    """Columns that by the estimate just fill the page are set in each size, without being shrunk."""
    for size, share in SIZES.items():
        for number, text in enumerate(TEXTS):
            gap, width = COLUMN_GAP, share * text_width(text)
            columns = int((TEXT_WIDTH + gap) // (width + gap))
            entries = (text_entry(text),) * columns
            table = Table("t", "title", tuple(Column("x") for _ in entries), (entries,))
            file = tmp_path / f"{size}-{number}.tex"
            from bench.analysis.tables.render import latex

            assert size_of(table) is not None
            file.write_text(re.sub(r"^\{\\\w+\\set", rf"{{\\{size}\\set", latex(table), flags=re.MULTILINE))
    assert overfull(sorted(tmp_path.glob("*-*.tex")), tmp_path) == []


@pytest.mark.parametrize("columns", [80, 100, 120])
def test_parameters_and_memory_are_read_in_a_terminal(
    tables: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for name in ("parameters", "memory"):
        assert main(["tables", "demo", *sets_of(SEEDS), "--results", str(tables.parents[1]), "--show", name]) == 0
        shown = capsys.readouterr().out
        assert all(cell_len(line) <= columns for line in shown.splitlines())
        assert "…" not in shown
        words = set(re.findall(r"\d[\d,.]*\d", (tables / f"{name}.md").read_text().partition("\n\n- ")[0]))
        assert words <= set(re.findall(r"\d[\d,.]*\d", shown)), name
        assert "─" in shown


def test_show_prints_all_tables_with_each_note_once(tables: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["tables", "demo", *sets_of(SEEDS), "--results", str(tables.parents[1]), "--show"]
    assert main(arguments) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.count("LoRA against AdaLoRA") == 2
    assert all(title in shown for title in ("All methods", "Paired comparisons", "Memory in MiB", "Cost, mean"))
    assert shown.count("- Backbones: minilm") == 1
    assert "CNN/DailyMail" in shown


def test_an_unknown_table_is_refused_with_the_nearest_name(tables: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["tables", "demo", *sets_of(SEEDS), "--results", str(tables.parents[1]), "--show", "memry"]
    assert main(arguments) == 2
    assert "--show memry: study 'demo' has no such table (did you mean 'memory'?)" in capsys.readouterr().err
