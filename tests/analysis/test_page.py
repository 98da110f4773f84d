"""The page in a real browser: numbers at first sight, no overflow, sorting, filtering, and 500 cells in no time."""

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
HOSTILE = "<script>document.title = 'taken over'</script><img src=x onerror=\"document.title = 'taken over'\">"
WIDTHS = (1280, 390)


@pytest.fixture(scope="module")
def study() -> ResolvedStudy:
    return study_of(2)


@pytest.fixture(scope="module")
def page(study: ResolvedStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 80 cells: 77 are ok, one ran out of memory with a hostile message, one diverged, one is missing."""
    results = tmp_path_factory.mktemp("results")
    write_troubled_study(study, results, HOSTILE)
    return make_page(study, results)[0]


@pytest.fixture(scope="module")
def browser() -> Iterator[Tab]:
    with tab() as opened:
        yield opened


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_has_no_errors_and_does_not_overflow(page: Path, browser: Tab, width: int, scheme: str) -> None:
    browser.open(page, width, scheme=scheme)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    browser.evaluate("document.querySelectorAll('details').forEach(cell => cell.open = true)")
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    loaded = "image.loading === 'lazy' || (image.complete && image.naturalWidth > 0)"
    assert browser.evaluate(f"[...document.images].every(image => {loaded})")
    assert browser.evaluate("document.title") == "demo: results"
    assert browser.messages == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_the_first_numbers_are_seen_without_scrolling(
    page: Path, browser: Tab, width: int, height: int, scheme: str
) -> None:
    browser.open(page, width, height, scheme=scheme)
    box = "document.querySelector('.answer li').getBoundingClientRect()"
    assert 0 < browser.evaluate(f"{box}.top") < browser.evaluate(f"{box}.bottom") < height
    assert re.search(r"\d of 5 tasks", browser.evaluate("document.querySelector('.answer li').textContent"))
    # Of each of the first tables, the first number stands within the width of the window.
    edge = "Math.max(...[...document.querySelectorAll('table')].slice(0, 2).map(table => "
    edge += "[...[...table.tBodies[0].rows].find(row => row.cells[0].textContent === 'SST-2').cells]"
    edge += ".find(cell => cell.dataset.value).getBoundingClientRect().right))"
    assert browser.evaluate(edge) <= width
    background = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(22, 24, 28)")
    picture = "document.querySelector('.panels img').currentSrc === document.querySelector('.panels img').src"
    assert browser.evaluate(picture) == (scheme == "light")


def test_the_first_column_stays_when_a_table_is_scrolled(page: Path, browser: Tab) -> None:
    browser.open(page, 390)
    browser.evaluate("wide = document.getElementById('table-comparisons').parentElement, wide.scrollLeft = 400")
    assert browser.evaluate("wide.scrollLeft") == 400
    first = "document.querySelector('#table-comparisons tbody th').getBoundingClientRect()"
    assert browser.evaluate(f"{first}.left - wide.getBoundingClientRect().left") == 0
    assert browser.evaluate(f"{first}.width") > 40


def test_nothing_is_fetched_from_anywhere(page: Path, browser: Tab) -> None:
    browser.open(page, 1280)
    assert (
        browser.evaluate("performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:')).length")
        == 0
    )
    assert not re.search(r'(src|href)="(?!data:|#)', page.read_text())


def test_a_column_sorts_by_numbers_both_ways_and_by_keyboard(page: Path, browser: Tab) -> None:
    browser.open(page, 1280)
    browser.evaluate("table = [...document.querySelectorAll('table')].find(t => t.id === 'table-memory'), 0")
    names = "[...[...table.tHead.rows].at(-1).cells]"
    column = browser.evaluate(f"{names}.findIndex(head => head.textContent.includes('optimizer'))")
    shown = f"[...table.tBodies[0].rows].map(row => parseFloat(row.cells[{column}].textContent.replaceAll(',', '')))"
    head = f"{names}[{column}]"
    before = browser.evaluate(shown)
    assert len(set(before)) > 2
    browser.evaluate(f"{head}.querySelector('button').click()")
    assert browser.evaluate(f"{head}.ariaSort") == "ascending"
    ascending = [value for value in browser.evaluate(shown) if value is not None]
    assert ascending == sorted(ascending)
    browser.evaluate(f"{head}.querySelector('button').focus()")
    browser.press("Enter")
    assert browser.evaluate(f"{head}.ariaSort") == "descending"
    descending = [value for value in browser.evaluate(shown) if value is not None]
    assert descending == sorted(ascending, reverse=True)
    assert len(browser.evaluate(shown)) == len(before)


def choose(browser: Tab, **values: str) -> None:
    for kind, value in values.items():
        browser.evaluate(
            f"box = document.getElementById('filter-{kind}'); box.value = {json.dumps(value)}; "
            "box.dispatchEvent(new Event('change'))"
        )


def test_filters_keep_what_is_of_that_task_method_and_budget(page: Path, browser: Tab) -> None:
    browser.open(page, 1280)
    shown = "[...document.querySelectorAll('{}')].filter(part => part.checkVisibility())"
    rows = shown.format("tbody tr") + ".map(row => row.textContent)"
    all_rows = len(browser.evaluate(rows))
    choose(browser, task="CoLA")
    filtered = browser.evaluate(shown.format("#table-methods tbody tr") + ".map(row => row.textContent)")
    assert len(filtered) == 8
    assert all(text.startswith("CoLA") for text in filtered)
    assert browser.evaluate(shown.format(".cell") + ".length") == 16
    assert browser.evaluate("document.getElementById('shown').textContent") == "16 of 80 cells"
    assert set(browser.evaluate(shown.format(".panels figure[data-task]") + ".map(f => f.dataset.task)")) == {"CoLA"}
    choose(browser, method="QLoRA", budget="large")
    filtered = browser.evaluate(shown.format("#table-methods tbody tr") + ".map(row => row.textContent)")
    assert len(filtered) == 1
    pairs = browser.evaluate(shown.format("#table-comparisons tbody tr") + ".map(row => row.cells[3].textContent)")
    assert pairs == ["QLoRA − LoRA", "QLoRA + AdaLoRA − QLoRA"]
    choose(browser, task="MNLI")
    filtered = browser.evaluate(shown.format("#table-methods tbody tr") + ".map(row => row.cells[0].textContent)")
    assert filtered == ["MNLI, matched", "MNLI, mismatched"]
    choose(browser, task="", method="", budget="")
    assert len(browser.evaluate(rows)) == all_rows


def test_filters_keep_pairs_of_methods_and_of_budgets_under_either_name(page: Path, browser: Tab) -> None:
    browser.open(page, 1280)
    rows = "[...document.querySelectorAll('#table-pattern_agreement tbody tr')].filter(row => row.checkVisibility())"
    shown = rows + ".map(row => [...row.cells].slice(0, 3).map(cell => cell.textContent))"
    everything = browser.evaluate(shown)
    both = "AdaLoRA and QLoRA + AdaLoRA"
    choose(browser, method="QLoRA + AdaLoRA")
    filtered = browser.evaluate(shown)
    assert filtered == [row for row in everything if row[1] in ("QLoRA + AdaLoRA", both)]
    assert ["method", both, "small"] in filtered
    choose(browser, budget="large")
    assert browser.evaluate(shown) == [row for row in filtered if row[2] != "small"]
    assert ["budget", "QLoRA + AdaLoRA", "small and large"] in browser.evaluate(shown)
    choose(browser, method="LoRA")
    assert browser.evaluate(shown) == []


def test_a_cell_shows_its_loss_and_its_ranks_and_a_failed_one_its_log(
    page: Path, study: ResolvedStudy, browser: Tab
) -> None:
    cell, failed = study.find("cola", "adalora", "small", 1), study.cells[1]
    browser.open(page, 1280)
    section = f"[...document.querySelectorAll('.cell')].find(c => c.textContent.includes({json.dumps(cell.id)}))"
    browser.evaluate(f"part = {section}, part.open = true")
    loss, ranks = browser.evaluate("[...part.querySelectorAll('figcaption')].map(caption => caption.textContent)")
    assert loss.startswith("task loss over 40 steps: first 0.")
    assert re.fullmatch(r"live ranks of all matrices: \d+ at step 1, 72 at the end", ranks)
    labels = browser.evaluate("[...part.querySelectorAll('svg')].map(svg => svg.getAttribute('aria-label'))")
    assert labels == [loss, ranks]
    of_failed = f"[...document.querySelectorAll('.cell')].find(c => c.textContent.includes({json.dumps(failed.id)}))"
    browser.evaluate(f"part = {of_failed}, part.open = true")
    assert browser.evaluate("part.querySelector('pre').textContent") == "no luck\nstep 3\nno luck"
    assert browser.evaluate("part.querySelector('pre').checkVisibility()")


def test_every_part_has_a_name_for_screen_readers(page: Path, browser: Tab) -> None:
    browser.open(page, 1280)
    assert browser.evaluate("[...document.images].every(image => image.alt.length > 20)")
    assert browser.evaluate("[...document.querySelectorAll('table')].every(table => table.caption)")
    assert browser.evaluate("[...document.querySelectorAll('th')].every(head => head.scope)")
    assert browser.evaluate("[...document.querySelectorAll('svg')].every(svg => svg.getAttribute('aria-label'))")
    assert browser.evaluate("document.documentElement.lang") == "en"
    browser.press("Tab")
    assert browser.evaluate("document.activeElement.id") == "filter-task"


def test_text_from_data_stays_text(page: Path, browser: Tab) -> None:
    browser.open(page, 1280)
    assert browser.evaluate(f"document.body.textContent.includes({json.dumps(HOSTILE)})")
    assert browser.evaluate("document.querySelectorAll('img[src=x]').length") == 0
    assert browser.evaluate("document.title") == "demo: results"


def test_the_links_download_the_tables(page: Path, browser: Tab) -> None:
    browser.open(page, 1280)
    links = browser.evaluate("[...document.querySelectorAll('a[download]')].map(a => [a.download, a.href])")
    assert {name.rpartition(".")[2] for name, _ in links} == {"csv", "tex"}
    first = browser.evaluate("fetch(document.querySelector('a[download$=csv]').href).then(response => response.text())")
    assert first.startswith("task,")


@pytest.mark.long
def test_500_cells_load_in_three_seconds(tmp_path: Path, browser: Tab) -> None:
    study = study_of(13)
    assert len(study.cells) == 520
    write_study(study, tmp_path)
    (page,) = make_page(study, tmp_path)
    clock = time.monotonic()
    browser.open(page, 1280)
    assert browser.evaluate("document.querySelectorAll('.cell').length") == 520
    assert time.monotonic() - clock < 3
    clock = time.monotonic()
    choose(browser, method="QLoRA")
    assert time.monotonic() - clock < 1
    assert page.stat().st_size < 12e6
