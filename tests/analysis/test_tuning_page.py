"""The page of a study that tunes: a section with table and sentences, and in each cell its choice."""

from __future__ import annotations

from xml.etree.ElementTree import Element

import html5lib
import pytest
from helpers.tuned import rate, tuned_study, write_final_cells, write_trials

from bench.analysis.build import make_page
from bench.config.resolve import ResolvedStudy

FILE = "report.html"


@pytest.fixture(scope="module")
def study() -> ResolvedStudy:
    return tuned_study("tasks=[sst2]", "seeds=[0]", "tuning.trials=32")


@pytest.fixture(scope="module")
def body(study: ResolvedStudy, tmp_path_factory: pytest.TempPathFactory) -> Element:
    results = tmp_path_factory.mktemp("results")
    write_trials(study, results, lambda cell: (0.9 if cell.method.name == "lora" else 0.5) + rate(cell))
    write_final_cells(study, results)
    (file,) = make_page(study, results)
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    found = parser.parse(file.read_text()).find("body")
    assert found is not None
    return found


def section(body: Element, heading: str) -> list[Element]:
    """The elements between this heading and the next one."""
    children = list(body)
    start = next(i for i, child in enumerate(children) if child.tag == "h2" and child.text == heading)
    end = next((i for i, child in enumerate(children) if i > start and child.tag == "h2"), len(children))
    return children[start + 1 : end]


def text(elements: list[Element]) -> str:
    return "\n".join("".join(element.itertext()) for element in elements)


def test_the_section_on_tuning_has_the_table_and_a_sentence_per_pair(body: Element) -> None:
    elements = section(body, "Tuning")
    assert [table.get("id") for element in elements for table in element.iter("table")] == ["table-tuning"]
    lists = [element for element in elements if element.tag == "ul"]
    assert len(lists) == 1
    assert "From 1 trial on LoRA is ahead of AdaLoRA" in text(lists)
    assert "table-tuning" not in [table.get("id") for e in section(body, "Tables") for table in e.iter("table")]


def test_each_cell_shows_its_choice(body: Element, study: ResolvedStudy) -> None:
    best = max(study.trials["sst2/lora/small"], key=rate)
    cells = [element for element in section(body, "Cells") if element.tag == "details"]
    of_lora = text([cell for cell in cells if "SST-2, LoRA, small, seed 0" in text([cell])[:40]])
    assert "tuned values, what they were chosen by, and the trials" in of_lora
    assert f'"learning_rate": {rate(best)}' in of_lora
    assert best.id in of_lora
