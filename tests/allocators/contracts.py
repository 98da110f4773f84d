"""All contracts that run on models of a few matrices in one process, by name. Each takes a `Case`."""

from __future__ import annotations

from collections.abc import Callable

from contracts_budget import check_budget, check_counts, check_nf4
from contracts_cost import check_bytes, check_line, check_no_waits
from contracts_outputs import check_growth, check_pruned_are_zero
from contracts_repeats import check_accumulation, check_equal_decisions, check_resume, check_skipped_step
from registry_cases import Case

CONTRACTS: dict[str, Callable[[Case], None]] = {
    "budget": check_budget,
    "counts": check_counts,
    "equal decisions": check_equal_decisions,
    "growth": check_growth,
    "pruned are zero": check_pruned_are_zero,
    "resume": check_resume,
    "accumulation": check_accumulation,
    "no waits": check_no_waits,
    "bytes": check_bytes,
    "line": check_line,
    "skipped step": check_skipped_step,
    "nf4": check_nf4,
}


def broken_contracts(case: Case) -> dict[str, str]:
    """The contracts that the allocator breaks, each with the sentence that says how."""
    found = {}
    for name, check in CONTRACTS.items():
        try:
            check(case)
        except AssertionError as error:
            found[name] = str(error)
    return found
