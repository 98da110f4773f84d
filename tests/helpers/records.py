"""Makes what finished cells leave: records, predictions and curves with effects that are known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.config.cell import Cell
from bench.config.resolve import ResolvedStudy, load_study
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


def study_of(seeds: int, *overrides: str) -> ResolvedStudy:
    """The study `demo` with this many seeds."""
    return load_study("demo", [f"seeds=[{', '.join(map(str, range(seeds)))}]", *overrides])


def make_record(cell: Cell, metrics: dict[str, dict[str, float | None]], status: Any = "ok", **changes: Any) -> Record:
    """What the cell could have left with these metrics (fractions, by split)."""
    key = CellKey(
        study=cell.study,
        task=cell.task.name,
        backbone=cell.backbone.name,
        method=cell.method.name,
        budget=cell.budget_name,
        seed=cell.seed,
        id=cell.id,
        spec_hash=cell.spec_hash,
        hash="h",
    )
    common: dict[str, Any] = {
        "cell": key,
        "spec": cell.model_dump(mode="json"),
        "environment": ENVIRONMENT,
        "data": {"synthetic": False, "fingerprint": "f"},
        **changes,
    }
    if status != "ok":
        return Record(**common, status=status, message="no luck", log_tail=("step 3", "no luck"))
    split, metric = cell.task.primary_split, cell.task.metric
    ranks = live_ranks(cell)
    end = 1536 * sum(r.end for r in ranks.values())
    start = 1536 * sum(r.start for r in ranks.values())
    quantized = cell.method.storage == "nf4"
    return Record(
        **common,
        status="ok",
        reported=Reported(split=split, metric=metric, value=metrics[split][metric]),
        metrics={name: {"last": found} for name, found in metrics.items()},
        training=Training(
            steps=40,
            skipped_steps=0,
            rows=640,
            tokens=9600,
            seconds=Seconds(startup=4, training=6, evaluation=1, saving=0.1, total=11.1),
        ),
        parameters=Parameters(
            adapter_start=start,
            adapter_end=end,
            head=770,
            head_by_module={"classifier": 770},
            base=22_000_000,
            budget=BudgetUse(unit="ranks", limit=end // 1536, used=end // 1536),
        ),
        ranks=ranks,
        bytes=Bytes(
            base=BaseBytes(weights=(30 if quantized else 90) * 2**20, quantization=2**19 * quantized, buffers=0),
            adapter_file=4 * end,
            gradients=4 * end,
            optimizer=8 * end,
            importance=0,
            peak=PeakBytes(
                device="cpu",
                peak=(600 if quantized else 700) * 2**20 + 8 * start,
                growth=(80 - 30 * quantized) * 2**20 + 16 * start,
                predicted=(76 - 30 * quantized) * 2**20 + 16 * start,
            ),
        ),
    )


def live_ranks(cell: Cell) -> dict[str, SiteRank]:
    """Every matrix of six layers: the budget's rank, or more where an allocator has moved ranks up the layers."""
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
    """By split: labels and predictions of which a share near `quality` is right, harder examples less often."""
    generator = np.random.default_rng([cell.seed, len(cell.method.name), int(1e6 * quality)])
    made = {}
    for number, split in enumerate(cell.task.data.evaluation):
        common: dict[str, Any] = {"split": split, "row": np.arange(rows)}
        if cell.task.generates:
            common |= {"reference": "a b", "prediction": "a c", "score": np.clip(quality + difficulty / 10, 0, 1)}
        else:
            classes = len(cell.task.labels)
            truth = np.random.default_rng(number).integers(0, classes, rows)
            right = generator.random(rows) < np.clip(quality + 0.2 * difficulty, 0.02, 0.98)
            common |= {"reference": truth, "prediction": np.where(right, truth, (truth + 1) % classes)}
        made[split] = pd.DataFrame(common)
    return made


def measured(cell: Cell, frames: dict[str, pd.DataFrame]) -> dict[str, dict[str, float | None]]:
    if cell.task.generates:
        return {split: dict.fromkeys(cell.task.metrics, float(f["score"].mean())) for split, f in frames.items()}
    return {split: score(cell.task, f["prediction"].tolist(), f["reference"].tolist()) for split, f in frames.items()}


def write_cell(folder: Path, cell: Cell, quality: float, rows: int = 200, **changes: Any) -> Record:
    """Record, predictions and curve of one cell below results/<study>; `quality`: share of right answers."""
    difficulty = np.random.default_rng(7).normal(0, 1, rows)
    frames = predictions(cell, quality, rows, difficulty)
    record = make_record(cell, measured(cell, frames), **changes)
    place = folder / "cells" / cell.id
    place.mkdir(parents=True, exist_ok=True)
    if record.status == "ok":
        pd.concat(frames.values()).to_parquet(place / "predictions.parquet", index=False)
    write_curve(place / "curve.jsonl", cell, record)
    write_record(record, place)
    return record


def write_curve(file: Path, cell: Cell, record: Record, steps: int = 40) -> None:
    """A loss that falls, and ranks that go from start to end in four moves."""
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
    """Every cell of the study below results/<study>; the folder."""
    folder = results / study.name
    for cell in study.cells:
        write_cell(folder, cell, quality(cell), **changes)
    return folder


def write_troubled_study(study: ResolvedStudy, results: Path, oom_note: str, other_notes: tuple[str, ...] = ()) -> Path:
    """The first cell out of memory with a note, the second diverged, the third missing, all others well; the folder."""
    folder = results / study.name
    oom, diverged, missing, *rest = study.cells
    write_cell(folder, oom, 0.8, status="oom", notes=(oom_note,))
    write_cell(folder, diverged, 0.8, status="diverged")
    for cell in rest:
        write_cell(folder, cell, 0.75 + 0.02 * cell.seed, notes=other_notes)
    assert not (folder / "cells" / missing.id).exists()
    return folder
