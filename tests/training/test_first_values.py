"""Cells whose ranks and first values come from the training rows: EVA and GoRA, on every base and in two processes."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.small_cells import Lab, Moment, outcome, record_of, without_dropout

from bench.config.cell import Cell
from bench.errors import EXIT_TRY_AGAIN

METHODS = ("eva", "gora")


def ranks_of(out: Path) -> list[int]:
    """The ranks of the matrices, which are the same at the start and at the end."""
    record = record_of(out)
    ranks = [site.start for site in record.ranks.values()]
    assert ranks == [site.end for site in record.ranks.values()]
    return ranks


def on_nf4(cell: Cell) -> Cell:
    return cell.model_copy(update={"method": cell.method.model_copy(update={"storage": "nf4"})})


@pytest.mark.parametrize("method", METHODS)
def test_a_cell_holds_the_ranks_that_its_rows_decide_and_goes_on_to_the_same_bits(
    lab: Lab, tmp_path: Path, method: str
) -> None:
    made = lab.prepare(lab.cell(method))
    whole, parts = tmp_path / "whole" / "out", tmp_path / "parts" / "out"
    assert lab.train(made, whole) == 0
    ranks, parameters = ranks_of(whole), record_of(whole).parameters
    assert len(set(ranks)) > 1
    assert parameters is not None
    used, limit = parameters.budget.used, parameters.budget.limit
    if method == "eva":
        assert sum(ranks) == used == limit == 2 * len(ranks)
    else:  # a rank more would not fit
        assert parameters.budget.unit == "parameters"
        assert 0 <= limit - used < 64
    assert lab.train(made, parts, Moment("step", 5)) == EXIT_TRY_AGAIN
    assert lab.train(made, parts) == 0
    assert outcome(parts) == outcome(whole)


@pytest.mark.parametrize("method", METHODS)
def test_a_base_in_4_bits_serves_as_well(lab: Lab, tmp_path: Path, method: str) -> None:
    cell, out = lab.prepare(on_nf4(lab.cell(method))), tmp_path / "out"
    assert lab.train(cell, out, every=None) == 0
    assert record_of(out).status == "ok"
    assert len(set(ranks_of(out))) > 1


@pytest.mark.parametrize("method", METHODS)
def test_two_processes_find_what_one_finds(lab: Lab, tmp_path: Path, method: str) -> None:
    place = without_dropout(lab, tmp_path / "model")
    alone, both = (
        place.prepare(place.cell(method, rows=37, head_dropout=0.0, **parts))
        for parts in ({"accumulation": 2}, {"processes": 2})
    )
    assert place.train(alone, tmp_path / "alone", every=None) == 0
    assert place.train_together(both, tmp_path / "both", every=None) == [0, 0]
    assert ranks_of(tmp_path / "both") == ranks_of(tmp_path / "alone")
    for split, loss in record_of(tmp_path / "alone").loss.items():
        assert record_of(tmp_path / "both").loss[split] == pytest.approx(loss, rel=1e-3)
