"""The page in a real browser: it says nothing wrong, sorts, filters, fits, and stays light with 500 cells."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.browser import PROGRAM, Tab, tab
from helpers.records import study_of, write_study, write_troubled_study

from bench.analysis.build import make_page
from bench.config.resolve import ResolvedStudy

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium here: apt-get install chromium")
SPITEFUL = "<script>document.title = 'taken over'</script><img src=x onerror=\"document.title = 'taken over'\">"
WIDTHS = (1280, 390)


@pytest.fixture(scope="module")
def study() -> ResolvedStudy:
    return study_of(2)


@pytest.fixture(scope="module")
def page(study: ResolvedStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 80 cells: 77 that ended well, one out of memory with a spiteful message, one diverged, one missing."""
    results = tmp_path_factory.mktemp("results")
    write_troubled_study(study, results, SPITEFUL)
    return make_page(study, results)[0]


@pytest.fixture(scope="module")
def browser() -> Iterator[Tab]:
    with tab() as found:
        yield found


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wrong_and_nothing_overflows(page: Path, browser: Tab, width: int, scheme: str) -> None:
    browser.open(page, width, scheme=scheme)
    assert browser.ask("document.documentElement.scrollWidth") <= width
    browser.ask("document.querySelectorAll('details').forEach(cell => cell.open = true)")
    assert browser.ask("document.documentElement.scrollWidth") <= width
    assert browser.ask("[...document.images].every(image => image.complete && image.naturalWidth > 0)") or browser.ask(
        "[...document.images].every(image => image.loading === 'lazy')"
    )
    assert browser.ask("document.title") == "demo: results"
    assert browser.said == []


def test_nothing_is_fetched_from_anywhere(page: Path, browser: Tab) -> None:
    browser.open(page, 1280)
    assert browser.ask("performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:')).length") == 0
    assert not re.search(r'(src|href)="(?!data:|#)', page.read_text())


def test_a_column_sorts_by_numbers_both_ways_and_by_keyboard(page: Path, browser: Tab) -> None:
    browser.open(page, 1280)
    browser.ask(
        "table = [...document.querySelectorAll('table')].find(t => t.caption.textContent.includes('memory')), 0"
    )
    names = "[...[...table.tHead.rows].at(-1).cells]"
    column = browser.ask(f"{names}.findIndex(head => head.textContent.includes('optimizer'))")
    shown = f"[...table.tBodies[0].rows].map(row => parseFloat(row.cells[{column}].textContent.replaceAll(',', '')))"
    head = f"{names}[{column}]"
    before = browser.ask(shown)
    assert len(set(before)) > 2
    browser.ask(f"{head}.querySelector('button').click()")
    assert browser.ask(f"{head}.ariaSort") == "ascending"
    up = [value for value in browser.ask(shown) if value is not None]
    assert up == sorted(up)
    browser.ask(f"{head}.querySelector('button').focus()")
    browser.press("Enter")
    assert browser.ask(f"{head}.ariaSort") == "descending"
    down = [value for value in browser.ask(shown) if value is not None]
    assert down == sorted(up, reverse=True)
    assert len(browser.ask(shown)) == len(before)


def test_a_word_leaves_the_rows_and_cells_that_have_it(page: Path, browser: Tab) -> None:
    browser.open(page, 1280)
    write = "box = document.getElementById('filter'); box.value = '{}'; box.dispatchEvent(new Event('input'))"
    rows = "[...document.querySelectorAll('tbody tr')].filter(row => row.checkVisibility()).map(row => row.textContent)"
    everything = len(browser.ask(rows))
    browser.ask(write.format("COLA"))
    found = browser.ask(rows)
    assert 0 < len(found) < everything
    assert all("cola" in text.lower() for text in found)
    cells = browser.ask(
        "[...document.querySelectorAll('details')].filter(c => !c.hidden).map(c => c.firstElementChild.textContent)"
    )
    assert len(cells) == 16
    assert browser.ask("document.getElementById('shown').textContent") == "16 of 80 cells"
    browser.ask(write.format(""))
    assert len(browser.ask(rows)) == everything


def test_every_part_has_a_name_for_those_who_cannot_see_it(page: Path, browser: Tab) -> None:
    browser.open(page, 1280)
    assert browser.ask("[...document.images].every(image => image.alt.length > 20)")
    assert browser.ask("[...document.querySelectorAll('table')].every(table => table.caption)")
    assert browser.ask("[...document.querySelectorAll('th')].every(head => head.scope)")
    assert browser.ask("[...document.querySelectorAll('svg')].every(svg => svg.getAttribute('aria-label'))")
    assert browser.ask("document.documentElement.lang") == "en"
    browser.press("Tab")
    assert browser.ask("document.activeElement.id") == "filter"


def test_text_from_data_stays_text(page: Path, browser: Tab) -> None:
    browser.open(page, 1280)
    assert browser.ask(f"document.body.textContent.includes({json.dumps(SPITEFUL)})")
    assert browser.ask("document.querySelectorAll('img[src=x]').length") == 0
    assert browser.ask("document.title") == "demo: results"


def test_the_links_hold_the_tables_as_files(page: Path, browser: Tab) -> None:
    browser.open(page, 1280)
    links = browser.ask("[...document.querySelectorAll('a[download]')].map(a => [a.download, a.href])")
    assert {name.rpartition(".")[2] for name, _ in links} == {"csv", "tex"}
    first = browser.ask("fetch(document.querySelector('a[download$=csv]').href).then(got => got.text())")
    assert first.startswith("task,")


@pytest.mark.slow
def test_500_cells_load_in_three_seconds(tmp_path: Path, browser: Tab) -> None:
    study = study_of(13)
    assert len(study.cells) == 520
    write_study(study, tmp_path)
    (page,) = make_page(study, tmp_path)
    clock = time.monotonic()
    browser.open(page, 1280)
    assert browser.ask("document.querySelectorAll('details').length") == 520
    assert time.monotonic() - clock < 3
    clock = time.monotonic()
    browser.ask("box = document.getElementById('filter'); box.value = 'qlora'; box.dispatchEvent(new Event('input'))")
    assert time.monotonic() - clock < 1
    assert page.stat().st_size < 12e6
