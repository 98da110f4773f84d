"""The page over all studies: complete whatever finishes when, and never in the way of a study's own views."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import html5lib
from helpers.records import write_cell, write_study

from bench.analysis.build import make_page, make_tables
from bench.analysis.page.index import write_index
from bench.analysis.results import read_results
from bench.config.resolve import ResolvedStudy, load_study

JANUARY = 1_768_000_000  # seconds since 1970: 2026-01-09
SMALL = ("tasks=[sst2]", "methods=[lora]", "seeds=[0, 1]")
MANY = "seeds=[0, 1, 2, 3]"


def rows(results: Path) -> list[list[str]]:
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    body = parser.parse((results / "index.html").read_text())
    return [["".join(cell.itertext()) for cell in row] for row in body.findall(".//tbody/tr")]


def links(results: Path) -> list[str]:
    body = html5lib.parse((results / "index.html").read_text(), namespaceHTMLElements=False)
    return [link.get("href") for link in body.iter("a")]


def written(results: Path, name: str, *overrides: str) -> ResolvedStudy:
    study = load_study(name, [*SMALL, *overrides])
    write_study(study, results)
    for record in (results / name / "cells").rglob("record.json"):
        os.utime(record, (JANUARY, JANUARY))
    return study


def test_the_index_has_a_row_per_study_and_links_to_pages_that_are_there(tmp_path: Path) -> None:
    demo = written(tmp_path, "demo", "description=on <i>generated</i> rows")
    other = written(tmp_path, "fair-budget")
    write_cell(tmp_path / "fair-budget", other.cells[1], 0.5, status="oom")
    os.utime(tmp_path / "fair-budget" / "cells" / other.cells[1].id / "record.json", (JANUARY + 86400,) * 2)
    make_tables(demo, tmp_path)
    assert links(tmp_path) == []
    make_tables(other, tmp_path)
    make_page(demo, tmp_path)
    assert [row[0] for row in rows(tmp_path)] == ["demo", "fair-budget"]
    assert rows(tmp_path)[0][1:] == ["on <i>generated</i> rows", "4 of 4", "", "2026-01-09"]
    assert rows(tmp_path)[1][2:] == [f"{len(other.cells) - 1} of {len(other.cells)}", "1", "2026-01-10"]
    assert links(tmp_path) == ["demo/report.html"]
    assert (tmp_path / links(tmp_path)[0]).is_file()


def test_equal_results_give_equal_bytes(tmp_path: Path) -> None:
    study = written(tmp_path, "demo")
    make_tables(study, tmp_path)
    first = (tmp_path / "index.html").read_bytes()
    make_tables(study, tmp_path)
    assert (tmp_path / "index.html").read_bytes() == first


def test_a_damaged_summary_of_another_study_is_left_out(tmp_path: Path) -> None:
    study = written(tmp_path, "demo")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "summary.json").write_text('{"name": "other"')
    make_tables(study, tmp_path)
    assert [row[0] for row in rows(tmp_path)] == ["demo"]


def write_often(results: Path, name: str) -> None:
    """Each time with one more cell."""
    study = load_study(name, [*SMALL, MANY])
    for cell in study.cells:
        write_cell(results / name, cell, 0.5, rows=10)
        write_index(read_results(study, results))


def test_studies_that_finish_at_once_are_all_in_the_index(tmp_path: Path) -> None:
    names = ("demo", "fair-budget", "ablations")
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=write_often, args=(tmp_path, name)) for name in names]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    cells = {name: len(load_study(name, [*SMALL, MANY]).cells) for name in names}
    assert [process.exitcode for process in processes] == [0, 0, 0]
    expected = [(name, f"{cells[name]} of {cells[name]}") for name in sorted(names)]
    assert [(row[0], row[2]) for row in rows(tmp_path)] == expected
