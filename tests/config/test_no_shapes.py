"""Faults that do not depend on shapes of matrices are found when the study is read, with their place in its file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.config.resolve import load_study
from bench.errors import SpecError

Spoil = Callable[[str, str, str], Path]
PHASES = "recipe: {max_steps: 10, rank_schedule: {initial_steps: 6, final_steps: 4, interval: 1}}"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "{rank: 2,",
            "{rank: 2.5,",
            r"s\.yaml:7:11: cola/lora/small/seed-0: a fixed rank must be a whole number, .* 2\.5",
        ),
        (
            "seeds:",
            "selection: best\nseeds:",
            r"s\.yaml:9:1: cola/lora/small/seed-0: the best step is chosen by held-out",
        ),
        (
            "seeds:",
            "recipe: {holdout_rows: 8551}\nseeds:",
            r"s\.yaml:9:10: cola/.*: 8551 rows held out of 8551 leave none",
        ),
        (
            "seeds:",
            "overrides:\n  cola:\n    recipe: {holdout_rows: 60}\nlimits: {train_rows: 60}\nseeds:",
            r"s\.yaml:11:14: cola/lora/small/seed-0: 60 rows held out of 60 leave none",
        ),
        (
            "seeds:",
            f"{PHASES}\nseeds:",
            r"s\.yaml:9:25: cola/adalora/small/seed-0: no step is left .* 6 \+ final_steps 4 >= total_steps 10",
        ),
    ],
)
def test_a_fault_is_reported_once_with_its_place(spoil: Spoil, old: str, new: str, message: str) -> None:
    folder = spoil("studies/s.yaml", old, new)
    with pytest.raises(SpecError, match=message) as caught:
        load_study("s", (), folder)
    assert len(caught.value.problems) == 1  # not for each method, budget and seed


def test_an_allocator_that_watches_held_out_rows_needs_them(spoil: Spoil) -> None:
    folder = spoil("methods/lora.yaml", "adapter: lora", "adapter: lora\nallocator: plateau\ngrowth: {}")
    with pytest.raises(SpecError, match=r"s\.yaml:5:1: .*method 'lora' watches held-out rows"):
        load_study("s", (), folder)
    assert load_study("s", ["recipe.holdout_rows=100"], folder).cells


def test_varying_ranks_may_be_fractional_and_phases_are_free_if_nothing_is_pruned(spoil: Spoil) -> None:
    folder = spoil("studies/s.yaml", "{rank: 2,", "{rank: 2.5,")
    assert load_study("s", ["methods=[adalora]"], folder).cells
    spoil("studies/s.yaml", "initial_rank: 12}", "initial_rank: 8}")
    spoil("studies/s.yaml", "seeds:", f"{PHASES}\ngrids: [{{methods: [adalora], budgets: [large]}}]\nseeds:")
    assert load_study("s", (), folder).cells


def test_the_command_line_is_blamed_for_what_it_says(workflow: Path) -> None:
    with pytest.raises(SpecError, match=r"^command line: cola/lora/small/seed-0: the best step"):
        load_study("s", ["selection=best"], workflow)
