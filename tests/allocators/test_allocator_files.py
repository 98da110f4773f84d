"""Adapters trained by every allocator load with plain PEFT and export to LoRA; two processes decide alike."""

from __future__ import annotations

from pathlib import Path

import pytest
from contracts_files import check_recorded, check_saved
from contracts_processes import check_processes
from helpers.small_cells import Lab
from helpers.toy_models import adapted
from registry_cases import Case, all_cases, method_of

from bench.errors import BenchError
from bench.models.adapters import save_trained

BY_RANKS = [case for case in all_cases() if case.unit == "ranks"]


@pytest.mark.parametrize("case", BY_RANKS, ids=str)
def test_a_saved_adapter_loads_with_plain_peft(case: Case, shared_lab: Lab, tmp_path: Path) -> None:
    check_saved(case, shared_lab, tmp_path)


def test_an_adapter_without_any_rank_is_refused(tmp_path: Path) -> None:
    model = adapted([(8, 8)], 2, svd=False)
    with pytest.raises(BenchError, match="no rank is left in any matrix"):
        save_trained(model, method_of("fixed", "lora"), tmp_path, {"layers.0": [False, False]})


@pytest.mark.long
@pytest.mark.parametrize("case", [case for case in BY_RANKS if case.facts.ranks != "given"], ids=str)
def test_a_whole_cell_gives_its_recorded_predictions_again(case: Case, shared_lab: Lab, tmp_path: Path) -> None:
    """Given ranks come from outside: a method alone doesn't say them."""
    check_recorded(case, shared_lab, tmp_path)


@pytest.mark.long
def test_both_processes_decide_as_one() -> None:
    check_processes(BY_RANKS)
