"""The table and the figure of a study whose ranks grow."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.records import write_cell
from matplotlib.figure import Figure

from bench.analysis.figures.growth import growth_figures
from bench.analysis.results import read_results
from bench.analysis.tables.growth import growth_table
from bench.analysis.tables.model import Entry
from bench.config.resolve import ResolvedStudy, load_study
from bench.records.io import read_record, write_record
from bench.records.schema import RankGrowth

PLATEAU = "held-out loss 0.61, best 0.6: no better for 2 checks"


def study_of_growth(methods: str = "plateau", *overrides: str) -> ResolvedStudy:
    return load_study("plateau", [f"grids=[{{methods: [{methods}], budgets: [most]}}]", *overrides])


def table_of(study: ResolvedStudy, results: Path) -> dict[str, dict[str, Entry]]:
    """By the method's label: the entries of its row, by the column's name."""
    table = growth_table(read_results(study, results))
    names = [column.name for column in table.columns]
    return {row[1].text: dict(zip(names, row, strict=True)) for row in table.rows}


def set_growths(folder: Path, study: ResolvedStudy, seed: int, *growths: RankGrowth) -> None:
    """Rewrite the record of the method `plateau` with this seed, so that it lists these growths."""
    cell_folder = folder / "cells" / study.find("cola", "plateau", "most", seed).id
    record = read_record(cell_folder / "record.json")
    assert record.training is not None
    write_record(
        record.model_copy(update={"training": record.training.model_copy(update={"growths": growths})}), cell_folder
    )


def figures_of(study: ResolvedStudy, results: Path) -> dict[str, Figure]:
    return {name: figure for name, _, figure in growth_figures(read_results(study, results))}


@pytest.mark.parametrize(
    ("statuses", "shown"),
    [
        (("oom", "oom"), "2 of 2 OOM"),
        (("ok", "diverged"), "1 of 2 diverged"),
        (("failed", None), "1 of 2 failed, 1 of 2 missing"),
    ],
)
def test_failures_are_named_beside_the_score(tmp_path: Path, statuses: tuple[str, str | None], shown: str) -> None:
    study = study_of_growth()
    for cell, status in zip(study.cells, statuses, strict=True):
        if status:
            write_cell(tmp_path / study.name, cell, 0.8, status=status)
    score = table_of(study, tmp_path)["LoRA, plateau"]["score"]
    assert score.remark == shown
    assert score.n == statuses.count("ok")


def test_each_reason_is_listed_once(tmp_path: Path) -> None:
    study = study_of_growth("plateau, growth_interval")
    for cell in study.cells:
        write_cell(tmp_path / study.name, cell, 0.8)
    for seed, steps in enumerate([(60, 70), (65,)]):
        growths = [RankGrowth(step=step, ranks=step, reason=PLATEAU.replace("61", f"{step}")) for step in steps]
        set_growths(tmp_path / study.name, study, seed, *growths)
    rows = table_of(study, tmp_path)
    assert rows["LoRA, plateau"]["grew after step"].text == "60, 70 · 65"
    assert rows["LoRA, plateau"]["why"].text == "no better for 2 checks"
    assert rows["LoRA, even growth"]["why"].text == "—"


def test_adapters_without_ranks_of_ours_have_a_dash(tmp_path: Path) -> None:
    study = study_of_growth("full, dora, plateau")
    for cell in study.cells:
        write_cell(tmp_path / study.name, cell, 0.8)
        if cell.method.name != "plateau":
            cell_folder = tmp_path / study.name / "cells" / cell.id
            write_record(read_record(cell_folder / "record.json").model_copy(update={"ranks": {}}), cell_folder)
    rows = table_of(study, tmp_path)
    for label in ("full fine-tuning", "DoRA"):
        assert (rows[label]["start"].text, rows[label]["end"].text) == ("—", "—")
    assert rows["LoRA, plateau"]["end"].value == 8


def test_each_budget_has_a_curve(tmp_path: Path) -> None:
    study = load_study("plateau", ["grids=[{methods: [plateau], budgets: [mean, most]}]"])
    for cell in study.cells:
        write_cell(tmp_path / study.name, cell, 0.8)
    ranks = figures_of(study, tmp_path)["cola-growth"].axes[0]
    assert ranks.get_legend_handles_labels()[1] == ["LoRA, plateau, mean", "LoRA, plateau, most"]
    assert [line.get_ydata()[-1] for line in ranks.lines] == [4, 8]


def test_a_single_budget_is_not_in_the_legend(tmp_path: Path) -> None:
    study = study_of_growth()
    for cell in study.cells:
        write_cell(tmp_path / study.name, cell, 0.8)
    assert figures_of(study, tmp_path)["cola-growth"].axes[0].get_legend_handles_labels()[1] == ["LoRA, plateau"]


@pytest.mark.parametrize("text", [None, "", '{"step": 1, "loss": 0.5}\n'])
def test_a_curve_without_ranks_is_left_out(tmp_path: Path, text: str | None) -> None:
    study = study_of_growth("plateau, growth_interval")
    for cell in study.cells:
        write_cell(tmp_path / study.name, cell, 0.8)
    for method, remaining in (("plateau", ["LoRA, even growth"]), ("growth_interval", None)):
        file = tmp_path / study.name / "cells" / study.find("cola", method, "most", 0).id / "curve.jsonl"
        file.unlink() if text is None else file.write_text(text)
        figures = figures_of(study, tmp_path)
        assert (figures["cola-growth"].axes[0].get_legend_handles_labels()[1] if figures else None) == remaining
