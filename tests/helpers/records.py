"""Write studies as if they had been trained: records, predictions and curves with known effects."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.config.cell import Cell
from bench.config.resolve import ResolvedStudy, load_study
from bench.config.tuning import HELD_OUT
from bench.evaluation.metrics import score
from bench.records.io import write_record
from bench.records.schema import (
    BaseBytes,
    BudgetUse,
    Bytes,
    CellKey,
    Parameters,
    PeakBytes,
    Record,
    Reported,
    Seconds,
    SiteRank,
    Training,
)

ENVIRONMENT = {
    "python": "3.11.7",
    "packages": {"torch": "2.15.0"},
    "lock_sha256": "2acf18ae49207a0b",
    "commit": "d74d621fafc01a48",
    "dirty": False,
    "device": "cpu",
    "device_name": "AMD EPYC",
    "driver": None,
    "machine": "vm",
    "other_processes": [],
}
LAYERS = 6
PARAMETERS_PER_RANK = 2 * 768  # a row of A and a column of B, for a matrix of 768 x 768


# One recipe for all methods of the demo, with steps and rows that stay as they are when the demo's change.
SHARED = (
    "recipe_from=null",
    "recipe.max_steps=40",
    "recipe.batch_size=16",
    "recipe.max_length=64",
    "limits.train_rows=640",
)


def study_of(seeds: int, *overrides: str) -> ResolvedStudy:
    """The study `demo` with the seeds 0 to `seeds` - 1 and one recipe for all methods."""
    return load_study("demo", _overrides(seeds, overrides))


def sets_of(seeds: int, *overrides: str) -> list[str]:
    """The options that name the same study to a command of `bench`."""
    return [word for override in _overrides(seeds, overrides) for word in ("--set", override)]


def _overrides(seeds: int, more: tuple[str, ...]) -> list[str]:
    return [*SHARED, f"seeds=[{', '.join(map(str, range(seeds)))}]", *more]


def make_record(cell: Cell, metrics: dict[str, dict[str, float | None]], status: Any = "ok", **changes: Any) -> Record:
    """The record of a cell with these metrics (fractions, by split); a failed one has none. `changes`: other fields."""
    common: dict[str, Any] = {
        "kind": "trial" if cell.trial else "training",
        "cell": cell_key(cell),
        "spec": cell.model_dump(mode="json"),
        "environment": ENVIRONMENT,
        "data": {"synthetic": False, "fingerprint": "f"},
        **changes,
    }
    if status != "ok":
        return Record(**common, status=status, message="no luck", log_tail=("step 3", "no luck"))
    split, metric = HELD_OUT if cell.trial else cell.task.primary_split, cell.task.metric
    ranks = site_ranks(cell)
    start_ranks, end_ranks = sum(site.start for site in ranks.values()), sum(site.end for site in ranks.values())
    return Record(
        **common,
        status="ok",
        reported=Reported(split=split, metric=metric, value=metrics[split][metric]),
        metrics={name: {"last": values} for name, values in metrics.items()},
        training=Training(
            steps=40,
            skipped_steps=0,
            rows=640,
            tokens=9600,
            seconds=Seconds(startup=4, training=6, evaluation=1, saving=0.1, total=11.1),
        ),
        parameters=Parameters(
            adapter_start=start_ranks * PARAMETERS_PER_RANK,
            adapter_end=end_ranks * PARAMETERS_PER_RANK,
            head=770,
            head_by_module={"classifier": 770},
            base=22_000_000,
            budget=BudgetUse(unit="ranks", limit=end_ranks, used=end_ranks),
        ),
        ranks=ranks,
        bytes=make_bytes(cell, start_ranks * PARAMETERS_PER_RANK, end_ranks * PARAMETERS_PER_RANK),
    )


def cell_key(cell: Cell) -> CellKey:
    return CellKey.of(cell, "h")


def make_bytes(cell: Cell, start: int, end: int) -> Bytes:
    """Sizes of a cell whose adapter has `start` and then `end` parameters; an NF4 base is smaller."""
    mib, quantized = 2**20, cell.method.storage == "nf4"
    return Bytes(
        base=BaseBytes(weights=(30 if quantized else 90) * mib, quantization=mib // 2 * quantized, buffers=0),
        adapter_file=4 * end,
        gradients=4 * end,
        optimizer=8 * end,
        importance=0,
        peak=PeakBytes(
            device="cpu",
            peak=(600 if quantized else 700) * mib + 8 * start,
            growth=(80 - 30 * quantized) * mib + 16 * start,
            predicted=(76 - 30 * quantized) * mib + 16 * start,
        ),
    )


def site_ranks(cell: Cell) -> dict[str, SiteRank]:
    """Every matrix of six layers with the budget's rank; AdaLoRA has moved ranks between the upper and lower layers."""
    rank = int(cell.budget.rank or 2)
    start = int(cell.budget.initial_rank or rank) if cell.method.allocator == "adalora" else rank
    sites = {}
    for layer in range(LAYERS):
        for place, matrix in enumerate(cell.backbone.matrices):
            end = rank if start == rank else min(start, max(0, rank + (layer - 2) * (1 if place % 2 else -1)))
            sites[f"encoder.layer.{layer}.{matrix}"] = SiteRank(
                matrix=matrix,
                layer=layer,
                stack="encoder.layer",
                in_features=768,
                out_features=768,
                start=start,
                end=end,
            )
    return sites


def predictions(cell: Cell, quality: float, rows: int, difficulty: np.ndarray) -> dict[str, pd.DataFrame]:
    """By split, predictions of which a share near `quality` is right, of harder examples fewer.

    `difficulty` has one number per row and shifts the probability of a right answer.
    """
    generator = np.random.default_rng([cell.seed, len(cell.method.name), int(1e6 * quality)])
    frames = {}
    for number, split in enumerate(cell.task.data.evaluation):
        columns: dict[str, Any] = {"split": split, "row": np.arange(rows)}
        if cell.task.generates:
            columns |= {"reference": "a b", "prediction": "a c", "score": np.clip(quality + difficulty / 10, 0, 1)}
        elif cell.task.kind == "regression":
            truth = np.random.default_rng(number).uniform(0, 5, rows)
            error = (1 - quality) * (generator.normal(0, 1, rows) + difficulty)
            columns |= {"reference": truth, "prediction": truth + error}
        else:
            classes = len(cell.task.labels)
            truth = np.random.default_rng(number).integers(0, classes, rows)
            right = generator.random(rows) < np.clip(quality + 0.2 * difficulty, 0.02, 0.98)
            columns |= {"reference": truth, "prediction": np.where(right, truth, (truth + 1) % classes)}
        frames[split] = pd.DataFrame(columns)
    return frames


def score_predictions(cell: Cell, frames: dict[str, pd.DataFrame]) -> dict[str, dict[str, float | None]]:
    if cell.task.generates:
        return {split: dict.fromkeys(cell.task.metrics, float(f["score"].mean())) for split, f in frames.items()}
    return {split: score(cell.task, f["prediction"].tolist(), f["reference"].tolist()) for split, f in frames.items()}


def write_cell(folder: Path, cell: Cell, quality: float, rows: int = 200, **changes: Any) -> Record:
    """Write record, predictions and curve of one cell below `folder`, which is results/<study>; return the record.

    `quality` is the share of right answers. `changes` are fields of the record, such as `status` and `notes`.
    """
    difficulty = np.random.default_rng(7).normal(0, 1, rows)
    frames = predictions(cell, quality, rows, difficulty)
    record = make_record(cell, score_predictions(cell, frames), **changes)
    cell_folder = folder / "cells" / cell.id
    cell_folder.mkdir(parents=True, exist_ok=True)
    if record.status == "ok":
        pd.concat(frames.values()).to_parquet(cell_folder / "predictions.parquet", index=False)
    write_curve(cell_folder / "curve.jsonl", cell, record)
    write_record(record, cell_folder)
    return record


def write_curve(file: Path, cell: Cell, record: Record, steps: int = 40) -> None:
    """A loss that falls, and ranks that go from start to end in the steps 5 to 25."""
    sites = list(record.ranks.values())
    lines = []
    for step in range(1, steps + 1):
        share = min(1.0, max(0.0, (step - 5) / 20))
        line: dict[str, Any] = {
            "step": step,
            "loss": 0.7 - 0.4 * step / steps + 0.05 * np.sin(step + cell.seed),
            "learning_rate": 1e-3,
            "gradient_norm": 1.0 + 0.2 * np.cos(step),
            "regularizer": 0.0,
            "budget": sum(round(s.start + (s.end - s.start) * share) for s in sites),
        }
        if step == 1 or (5 <= step <= 25 and step % 5 == 0 and any(s.start != s.end for s in sites)):
            line["live_ranks"] = [round(s.start + (s.end - s.start) * share) for s in sites]
        lines.append(json.dumps(line))
    file.write_text("\n".join(lines) + "\n")


def write_study(
    study: ResolvedStudy, results: Path, quality: Callable[[Cell], float] = lambda _cell: 0.8, **changes: Any
) -> Path:
    """Write every cell of the study below results/<study>; return that folder."""
    folder = results / study.name
    for cell in study.cells:
        write_cell(folder, cell, quality(cell), **changes)
    return folder


def write_troubled_study(study: ResolvedStudy, results: Path, oom_note: str, other_notes: tuple[str, ...] = ()) -> Path:
    """Write a study whose first cell ran out of memory, the second diverged and the third is missing; the rest is ok.

    Returns its folder, results/<study>.
    """
    folder = results / study.name
    oom, diverged, missing, *rest = study.cells
    write_cell(folder, oom, 0.8, status="oom", notes=(oom_note,))
    write_cell(folder, diverged, 0.8, status="diverged")
    for cell in rest:
        write_cell(folder, cell, 0.75 + 0.02 * cell.seed, notes=other_notes)
    assert not (folder / "cells" / missing.id).exists()
    return folder
