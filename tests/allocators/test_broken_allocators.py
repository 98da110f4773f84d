"""The contracts see what is broken: each allocator with one fault breaks exactly the contracts that are about it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import contracts_files
import pytest
from broken_allocators import BROKEN, ByProcess, Pruning, Rescaling, added
from contracts import CONTRACTS, broken_contracts
from contracts_files import check_saved
from contracts_processes import check_processes
from helpers.small_cells import Lab
from registry_cases import Added

from bench.models.export import export_lora

Register = Callable[[Added], None]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
def test_a_fault_breaks_the_contract_about_it(broken: type, registered: Register) -> None:
    line, case = added(broken)
    registered(line)
    expected, words = BROKEN[broken]
    found = broken_contracts(case)
    assert found.keys() == expected, found
    assert any(sentence.startswith(str(case)) and words in sentence for sentence in found.values()), found


def test_every_contract_sees_a_fault() -> None:
    assert set().union(*(contracts for contracts, _ in BROKEN.values())) == CONTRACTS.keys()


def test_what_the_broken_ones_derive_from_breaks_nothing(registered: Register) -> None:
    line, case = added(Pruning)
    registered(line)
    assert broken_contracts(case) == {}


def test_what_no_file_says_is_seen_in_the_saved_adapter(registered: Register, shared_lab: Lab, tmp_path: Path) -> None:
    line, case = added(Rescaling)
    registered(line)
    with pytest.raises(AssertionError, match="loaded by plain PEFT, its adapter gives outputs that differ by up to"):
        check_saved(case, shared_lab, tmp_path)


def test_an_export_of_another_scale_is_seen(
    registered: Register, shared_lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export_loudly(adapter: Path, out: Path) -> None:
        export_lora(adapter, out)
        config = json.loads((out / "adapter_config.json").read_text())
        (out / "adapter_config.json").write_text(json.dumps({**config, "lora_alpha": 2 * config["lora_alpha"]}))

    line, case = added(Pruning)
    registered(line)
    check_saved(case, shared_lab, tmp_path / "right")
    monkeypatch.setattr(contracts_files, "export_lora", export_loudly)
    with pytest.raises(AssertionError, match="exported to LoRA, its adapter gives outputs that differ by up to"):
        check_saved(case, shared_lab, tmp_path / "wrong")


@pytest.mark.long
def test_processes_that_decide_for_themselves_are_seen(registered: Register) -> None:
    line, case = added(ByProcess)
    registered(line)
    assert broken_contracts(case) == {}
    with pytest.raises(AssertionError, match="two processes decide apart after step 4"):
        check_processes([case], [line])
