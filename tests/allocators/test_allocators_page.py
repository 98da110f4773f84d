"""The worked example of docs/allocators.md keeps the contracts as printed, and breaks the one that the page says."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from contracts import CONTRACTS, broken_contracts
from contracts_budget import TROUBLES, check_budget
from contracts_files import check_saved
from helpers.small_cells import Lab
from registry_cases import Added, Case

from bench.engine.allocators import names

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "allocators.md").read_text()
CASES = [Case("at_random", "adalora"), Case("at_random", "adalora", unit="parameters")]

Register = Callable[[Added], None]


def the_example(folder: Path, *, without: str = "") -> Added:
    """The example's module in `folder`, with `pass` in place of a statement if one is named, and its line."""
    section = PAGE.partition("### A new allocator, from an empty file to the suite")[2]
    code, line = re.findall(r"```python\n(.*?)```", section, re.DOTALL)[:2]
    assert without in code
    lines = [re.sub(r"\S.*", "pass", words) if without and without in words else words for words in code.splitlines()]
    (folder / "at_random.py").write_text("\n".join(lines))
    ((name, facts),) = eval(line, vars(names)).items()
    return Added(name, facts, folder)


def test_the_example_keeps_the_contracts(registered: Register, shared_lab: Lab, tmp_path: Path) -> None:
    registered(the_example(tmp_path))
    for case in CASES:
        assert broken_contracts(case) == {}
        check_budget(case, TROUBLES)
    check_saved(CASES[0], shared_lab, tmp_path)


def test_the_example_without_a_statement_breaks_what_the_page_says(registered: Register, tmp_path: Path) -> None:
    registered(the_example(tmp_path, without="self._flat.singular.mul_"))
    (sentence,) = re.findall(r"left out, for instance, it is `(.*?)`", PAGE, re.DOTALL)
    assert broken_contracts(CASES[0]) == {"pruned are zero": " ".join(sentence.split())}


def test_every_contract_is_on_the_page() -> None:
    told = re.findall(r"^\| ([\w ]+?) \|", PAGE, re.MULTILINE)
    assert set(CONTRACTS) <= set(told)
