"""Tables from records: means by hand, words for failures, dashes for missing cells, and no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from helpers.records import cell_key, study_of, write_study

from bench.analysis.build import make_figures, make_page, make_tables
from bench.analysis.figures.trade_off import trade_off_figure
from bench.analysis.results import read_results
from bench.config.cell import Cell
from bench.config.resolve import ResolvedStudy, load_study
from bench.errors import BenchError
from bench.files import canonical_json
from bench.records.io import checksums, write_record
from bench.records.schema import (
    BaseBytes,
    BudgetUse,
    Bytes,
    Parameters,
    PeakBytes,
    Record,
    Reported,
    Seconds,
    SiteRank,
    Training,
)

SCORES = {0: 0.80, 1: 0.90, 2: 0.85}


@pytest.fixture(scope="module")
def study() -> ResolvedStudy:
    return load_study("fair-budget")


def record(cell: Cell, value: float | None, status: Any = "ok", **changes: Any) -> Record:
    """A record with the score `value` and 82,944 adapter parameters (LoRA) or 100,000 (others)."""
    common: dict[str, Any] = {
        "cell": cell_key(cell),
        "spec": cell.model_dump(mode="json"),
        "environment": {"device": "cpu", "device_name": "x", "lock_sha256": "l", "dirty": False},
        "data": {"synthetic": True},
        **changes,
    }
    if status != "ok":
        return Record(**common, status=status, message="no luck")
    end = 82_944 if cell.method.name == "lora" else 100_000
    split = cell.task.primary_split
    return Record(
        **common,
        status="ok",
        reported=Reported(split=split, metric=cell.task.metric, value=value),
        metrics={split: {"last": dict.fromkeys(cell.task.metrics, value)}},
        training=Training(
            steps=60,
            skipped_steps=0,
            rows=960,
            tokens=9600,
            seconds=Seconds(startup=4, training=6, evaluation=1, saving=0.1, total=11.1),
        ),
        parameters=Parameters(
            adapter_start=end,
            adapter_end=end,
            head=770,
            head_by_module={"classifier": 770},
            base=1000,
            budget=BudgetUse(unit="ranks", limit=72, used=72),
        ),
        ranks={
            f"layer.{i}.query": SiteRank(
                matrix="attention.self.query",
                layer=i,
                stack="encoder.layer",
                in_features=8,
                out_features=8,
                start=4,
                end=i,
            )
            for i in range(3)
        },
        bytes=Bytes(
            base=BaseBytes(weights=2**20, quantization=2**19, buffers=0),
            adapter_file=2**20,
            gradients=0,
            optimizer=0,
            importance=0,
            peak=PeakBytes(device="cpu", peak=2**21),
        ),
    )


def write(study: ResolvedStudy, results: Path, **special: Record | None) -> None:
    """Write a record for every cell; `special` replaces those of a method, or with None leaves them out."""
    for cell in study.cells:
        cell_record = special.get(cell.method.name, record(cell, SCORES[cell.seed]))
        if cell_record is not None:
            write_record(cell_record, results / study.name / "cells" / cell.id)


def row(results: Path, table: str, *heads: str) -> list[str]:
    text = (results / "fair-budget" / "tables" / f"{table}.md").read_text()
    lines = [[cell.strip() for cell in line.strip("| ").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return next(line for line in lines if line[: len(heads)] == list(heads))[len(heads) :]


def test_means_are_those_of_the_records(study: ResolvedStudy, tmp_path: Path) -> None:
    write(study, tmp_path)
    make_tables(study, tmp_path)
    assert row(tmp_path, "methods", "SST-2", "accuracy", "small", "LoRA") == ["85.00 ± 5.00", "82,944"]
    assert row(tmp_path, "methods", "CoLA", "MCC", "small", "AdaLoRA") == ["85.00 ± 5.00", "100,000"]
    assert row(tmp_path, "lora_adalora", "SST-2", "accuracy", "small")[:2] == ["85.00 ± 5.00"] * 2
    assert row(tmp_path, "parameters", "SST-2", "LoRA", "small") == ["82,944", "82,944", "770", "72 of 72 ranks", "3"]
    assert row(tmp_path, "memory", "SST-2", "LoRA", "small")[:2] == ["1.50", "1.00"]
    text = (tmp_path / "fair-budget/tables/methods.md").read_text()
    assert "Synthetic rows" in text
    assert "+20.6%" in text  # 100,000 over 82,944


def test_sizes_and_times_have_a_spread_and_scores_the_number_of_parameters(
    study: ResolvedStudy, tmp_path: Path
) -> None:
    """On SST-2, AdaLoRA ends with 90,000, 100,000 and 110,000 parameters; both take 6, 9, 12 s; a peak is unknown."""
    write(study, tmp_path)
    for seed, end in enumerate((90_000, 100_000, 110_000)):
        for method in ("lora", "adalora"):
            cell = study.find("sst2", method, "small", seed)
            old = record(cell, SCORES[seed])
            seconds = old.training.seconds.model_copy(update={"training": 6.0 + 3 * seed})
            peak = old.bytes.peak.model_copy(update={"growth": (seed or None) and 2**20})
            changes: dict[str, Any] = {
                "training": old.training.model_copy(update={"seconds": seconds}),
                "bytes": old.bytes.model_copy(update={"peak": peak}),
            }
            if method == "adalora":
                changes["parameters"] = old.parameters.model_copy(update={"adapter_end": end})
            folder = tmp_path / "fair-budget/cells" / cell.id
            write_record(old.model_copy(update=changes), folder)
    make_tables(study, tmp_path)
    assert row(tmp_path, "cost", "SST-2", "LoRA", "small")[2] == "0.150 ± 0.050"
    assert row(tmp_path, "parameters", "SST-2", "AdaLoRA", "small")[1] == "100,000 ± 10,000"
    assert "1.00 (2)" in row(tmp_path, "memory", "SST-2", "AdaLoRA", "small")
    shown = ["82,944", "100,000 ± 10,000"]
    assert row(tmp_path, "lora_adalora", "SST-2", "parameters", "small")[:2] == shown
    methods_here = ("LoRA", "AdaLoRA")
    assert [row(tmp_path, "methods", "SST-2", "accuracy", "small", name)[1] for name in methods_here] == shown
    folder = tmp_path / "fair-budget" / "tables"
    for suffix in (".html", ".tex"):
        text = (folder / f"methods{suffix}").read_text().replace(r"$\pm$", "±")
        assert all(entry in text for entry in shown)
    cost, methods, compared, overall = (
        pd.read_csv(folder / f"{name}.csv") for name in ("cost", "methods", "comparisons", "overall")
    )
    sst2 = cost[(cost["task"] == "SST-2") & (cost["method"] == "LoRA")].iloc[0]
    assert sst2[[f"training [s/step]{part}" for part in ("", ": sd", ": n")]].tolist() == pytest.approx([0.15, 0.05, 3])
    sizes = methods[(methods["task"] == "SST-2") & (methods["method"] == "AdaLoRA")].iloc[0]
    assert sizes[[f"parameters{part}" for part in ("", ": sd", ": n")]].tolist() == pytest.approx([100_000, 10_000, 3])
    pair = compared[(compared["task"] == "SST-2") & (compared["second − first"] == "AdaLoRA − LoRA")].iloc[0]
    assert pair["adapter parameters"] == "100,000 ± 10,000 vs 82,944"
    size = overall[overall["method"] == "AdaLoRA"].iloc[0]
    assert size[["adapter parameters: low", "adapter parameters: high", "runs"]].tolist() == [90_000, 110_000, 6]


def test_missing_and_failed_cells_are_words_not_numbers(study: ResolvedStudy, tmp_path: Path) -> None:
    write(study, tmp_path, adalora=None)
    (tmp_path / "fair-budget/cells/sst2/lora/small/seed-1/record.json").unlink()
    for seed, status in ((0, "oom"), (1, "diverged"), (2, "failed")):
        cell = study.find("sst2", "adalora_parameters", "small", seed)
        write_record(record(cell, None, status), tmp_path / "fair-budget/cells" / cell.id)
    make_tables(study, tmp_path)
    names = ("LoRA", "AdaLoRA", "AdaLoRA (parameters)")
    assert [row(tmp_path, "methods", "SST-2", "accuracy", "small", name)[0] for name in names] == [
        "82.50 ± 3.54 (2), 1 of 3 missing",
        "— (0)",
        "1 of 3 OOM, 1 of 3 diverged, 1 of 3 failed",
    ]


def test_an_undefined_score_is_named(study: ResolvedStudy, tmp_path: Path) -> None:
    write(study, tmp_path)
    cell = study.find("sst2", "lora", "small", 0)
    write_record(record(cell, None), tmp_path / "fair-budget/cells" / cell.id)
    make_tables(study, tmp_path)
    shown = row(tmp_path, "methods", "SST-2", "accuracy", "small", "LoRA")[0]
    assert shown == "87.50 ± 3.54 (2), 1 of 3 undefined"


def test_strict_refuses_mixed_devices(study: ResolvedStudy, tmp_path: Path) -> None:
    write(study, tmp_path)
    with pytest.raises(BenchError, match="--strict: Synthetic rows"):
        make_tables(study, tmp_path, strict=True)
    cell = study.find("sst2", "lora", "small", 0)
    other = record(cell, 0.5, environment={"device": "cpu", "device_name": "y", "lock_sha256": "l", "dirty": True})
    write_record(other, tmp_path / "fair-budget/cells" / cell.id)
    with pytest.raises(BenchError, match=r"Mixed devices: x \(17\), y \(1\)\. 1 of 18 records were made with unc"):
        make_tables(study, tmp_path, strict=True)
    other = record(cell, 0.5, environment={"device": "cpu", "cpu_in_place_of_gpus": True})
    write_record(other, tmp_path / "fair-budget/cells" / cell.id)
    with pytest.raises(BenchError, match=r"1 of 18 records were made on the CPU, though their jobs had GPUs\."):
        make_tables(study, tmp_path, strict=True)
    alone = record(cell, 0.5)
    other = alone.model_copy(update={"training": alone.training.model_copy(update={"devices": ("a", "b")})})
    write_record(other, tmp_path / "fair-budget/cells" / cell.id)
    with pytest.raises(BenchError, match=r"1 of 18 records were trained on devices of several models: mixed"):
        make_tables(study, tmp_path, strict=True)


def test_a_record_of_another_spec_is_left_out(study: ResolvedStudy, tmp_path: Path) -> None:
    write(study, tmp_path)
    changed = load_study("fair-budget", ["recipe.learning_rate=1e-5"])
    with pytest.raises(BenchError, match="no record of study 'fair-budget'"):
        make_tables(changed, tmp_path)


def test_the_order_of_seeds_changes_nothing_and_views_repeat(study: ResolvedStudy, tmp_path: Path) -> None:
    for folder, scores in ((tmp_path / "a", SCORES), (tmp_path / "b", {0: 0.85, 1: 0.80, 2: 0.90})):
        for cell in study.cells:
            write_record(record(cell, scores[cell.seed]), folder / study.name / "cells" / cell.id)
        make_tables(study, folder)
    assert row(tmp_path / "a", "methods", "SST-2") == row(tmp_path / "b", "methods", "SST-2")
    first = {file: file.read_bytes() for file in make_figures(study, tmp_path / "a")}
    assert first == {file: file.read_bytes() for file in make_figures(study, tmp_path / "a")}


def test_the_page_stands_alone_and_escapes_what_comes_from_data(study: ResolvedStudy, tmp_path: Path) -> None:
    write(study, tmp_path)
    cell = study.find("sst2", "lora", "small", 0)
    bad = record(cell, None, "failed").model_copy(update={"message": "<script>alert(1)</script>"})
    write_record(bad, tmp_path / "fair-budget/cells" / cell.id)
    (file,) = make_page(study, tmp_path)
    text = file.read_text()
    assert "<script>alert(1)" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "http://" not in text
    assert "https://" not in text
    assert text.count('<details class="cell"') == len(study.cells)


def test_a_description_keeps_its_letters(study: ResolvedStudy, tmp_path: Path) -> None:
    write(study, tmp_path)
    (file,) = make_page(load_study("fair-budget", ["description=on GLUE with LoRA"]), tmp_path)
    assert "<p>On GLUE with LoRA. 18 of 18 cells" in file.read_text()


def test_a_record_with_an_unknown_field_is_refused_in_words(study: ResolvedStudy, tmp_path: Path) -> None:
    """As a later version with the same schema could have written it: its checksums are right."""
    write(study, tmp_path)
    file = tmp_path / study.name / "cells" / study.cells[0].id / "record.json"
    data = {**json.loads(file.read_bytes()), "color": "blue"}
    file.write_bytes(canonical_json({**data, "checksums": checksums(data)}))
    with pytest.raises(BenchError, match=r"record\.json: field color: Extra inputs are not permitted, found 'blue'"):
        make_tables(study, tmp_path)


def test_the_score_figure_explains_its_bars(study: ResolvedStudy, tmp_path: Path) -> None:
    write(study, tmp_path)
    figure = trade_off_figure(read_results(study, tmp_path), "sst2")
    assert figure.axes[0].get_ylabel() == "accuracy [points]"
    assert figure.get_suptitle() == "SST-2, n = 3; bar: 95%"
    bar = figure.axes[0].containers[0].lines[2][0].get_segments()[0]
    assert (bar[1][1] - bar[0][1]) / 2 == pytest.approx(12.42, abs=0.01)  # Student's t of 80, 85 and 90


def test_views_import_no_torch(study: ResolvedStudy, tmp_path: Path) -> None:
    write(study, tmp_path)
    code = (
        "import sys; from pathlib import Path; from bench.analysis import build as m; from bench.config.resolve import "
        f"load_study; s = load_study('fair-budget'); p = Path({str(tmp_path)!r}); m.make_tables(s, p); "
        "m.make_figures(s, p); m.make_page(s, p); assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_combinations_that_the_study_does_not_ask_for_are_left_out(tmp_path: Path) -> None:
    """As in `plateau`, where LoRA is trained at every budget and the others at one."""
    grids = "grids=[{methods: [lora], budgets: [small, large]}, {methods: [adalora], budgets: [large]}]"
    uneven = study_of(2, "tasks=[sst2, cola]", grids)
    write_study(uneven, tmp_path)
    make_tables(uneven, tmp_path)
    tables = tmp_path / "demo" / "tables"
    frames = {name: pd.read_csv(tables / f"{name}.csv") for name in ("methods", "comparisons", "overall")}
    of_sst2 = frames["methods"][frames["methods"]["task"] == "SST-2"]
    rows = [f"{row['method']}, {row['budget']}" for _, row in of_sst2.iterrows()]
    assert rows == ["LoRA, small", "LoRA, large", "AdaLoRA, large"]
    assert frames["comparisons"]["budget"].tolist() == ["large"] * 2
    of_all = [f"{row['method']}, {row['budget']}" for _, row in frames["overall"].iterrows()]
    assert of_all == ["LoRA, small (rank 2)", "LoRA, large (rank 8)", "AdaLoRA, large (rank 8)"]
