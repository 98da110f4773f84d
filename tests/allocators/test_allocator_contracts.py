"""Every allocator of the registry, on every adapter and in every unit that its line allows, keeps the contracts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from contracts import CONTRACTS
from contracts_budget import TROUBLES, check_budget, check_counts
from contracts_cost import cost_table
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from registry_cases import STEPS, Case, all_cases, method_of

CASES = all_cases()
BY_RANKS = [case for case in CASES if case.unit == "ranks"]
PACKED = [
    Case(name, "adalora", optimizer="adamw8bit") for name in ("adalora", "snr", "elalora", "increlora_reserve", "l1ra")
]
PRUNED = [replace(case, compact=False) for case in CASES if case.facts.ranks == "pruned"]


@pytest.mark.parametrize("contract", CONTRACTS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_contract_holds(case: Case, contract: str) -> None:
    CONTRACTS[contract](case)


@pytest.mark.parametrize("contract", ["growth", "resume", "no waits", "skipped step"])
@pytest.mark.parametrize("case", PACKED, ids=str)
def test_a_contract_holds_with_moments_in_8_bits(case: Case, contract: str) -> None:
    """Here for one allocator of each kind, all that moments have to follow; every contract holds for all of them."""
    CONTRACTS[contract](case)


@pytest.mark.parametrize("case", CASES, ids=str)
@settings(deadline=None, max_examples=8)
@given(troubles=st.lists(st.sampled_from(TROUBLES), min_size=1, max_size=STEPS), clip=st.sampled_from([None, 1.0]))
def test_no_gradient_breaks_the_budget(case: Case, troubles: list[str], clip: float | None) -> None:
    check_budget(case, troubles, max_grad_norm=clip)


@pytest.mark.parametrize("case", PRUNED, ids=str)
@pytest.mark.parametrize("check", [check_budget, check_counts])
def test_pruned_ranks_that_stay_in_memory_do_not_count(case: Case, check) -> None:
    check(case)


@pytest.mark.parametrize("case", BY_RANKS, ids=str)
def test_a_budget_in_parameters_is_kept_or_refused(case: Case) -> None:
    """Allocators that methods may count in parameters are run so above; for the others the method is refused."""
    if replace(case, unit="parameters") not in CASES:
        with pytest.raises(ValidationError, match="unit must be ranks"):
            method_of(case.name, case.adapter, unit="parameters")


def test_what_an_ordinary_step_costs() -> None:
    table = cost_table(BY_RANKS)
    print(f"\n{table}")
    assert len(table.splitlines()) == len(BY_RANKS) + 1
