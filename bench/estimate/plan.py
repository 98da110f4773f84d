"""The plan of a study: what every cell will hold and take, before any GPU hour is spent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.config.cell import Cell
from bench.config.resolve import ResolvedStudy
from bench.config.study import Study
from bench.errors import BenchError
from bench.estimate.duration import Forecaster, forecaster
from bench.estimate.jobs import gpus, memory_mb, minutes
from bench.estimate.lengths import Lengths, prepared_lengths
from bench.estimate.memory import declared_batch, predict_peak
from bench.estimate.parameters import Prediction, predict
from bench.estimate.tracing import BatchShape, Device
from bench.paths import RESULTS, default_cache

CURVE_BYTES, RECORD_BYTES = 170, 30_000  # a step's line in curve.jsonl; a record and its log


def plan(
    study: ResolvedStudy, device: Device = "cpu", *, results: Path = RESULTS, cache: Path | None = None,
    mirror: Path | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """A row a cell; bytes, parameters, seconds. steps: None where neither the task's file nor prepared data tells the
    rows; seconds: None where no record tells. Raises BenchError."""
    known: dict[str, dict[str, Any]] = {}
    times = forecaster(results)
    rows = []
    for cell in study.cells:
        same = cell.model_copy(update={"seed": 0}).spec_hash
        if same not in known:
            lengths = prepared_lengths(cell, mirror, cache or default_cache(results))
            known[same] = _row(cell, study.study, device, lengths, times)
        rows.append({"cell": cell.id, **known[same], "taken_seconds": times.taken(cell)})
    return rows


def _row(cell: Cell, study: Study, device: Device, lengths: Lengths | None, times: Forecaster) -> dict[str, Any]:
    predicted = predict(cell)
    steps = _steps(cell, predicted, lengths)
    batch = _batch(cell, lengths)
    peak = predict_peak(cell, predicted, batch, device)
    forecast = times.seconds(cell, steps)
    file = 4 * (predicted.adapter_end[1] + sum(predicted.head.values()))
    return {
        "steps": steps,
        "tokens": _tokens(cell, steps, lengths),
        "budget": {
            "unit": cell.method.unit,
            "limit": predicted.schedule.target_budget if predicted.schedule else None,
        },
        "adapter_parameters_start": predicted.adapter_start,
        "adapter_parameters_end": list(predicted.adapter_end),
        "head_parameters": predicted.head,
        "total_parameters": predicted.total,
        "base_bytes": predicted.base.model_dump(),
        "adapter_bytes": 4 * predicted.adapter_start,
        "gradient_bytes": predicted.gradients,
        "optimizer_bytes": predicted.optimizer,
        "importance_bytes": predicted.importance,
        "batch": {
            "rows": batch.rows, "length": batch.length, "target_length": batch.target,
            "from": "prepared data" if lengths else "recipe",
        },
        "predicted_peak": {
            "device": device, "loaded_bytes": peak.loaded, "state_bytes": peak.state,
            "activation_bytes": peak.activations, "workspace_bytes": peak.workspace, "growth_bytes": peak.growth,
            "total_bytes": peak.total,
        },
        "seconds": forecast.seconds if forecast else None,
        "seconds_from": {"records": forecast.records, "same": forecast.by, "device": times.device}
        if forecast
        else None,
        "disk_bytes": file + RECORD_BYTES + CURVE_BYTES * (steps or 0),
        "job": {
            "gpus": gpus(cell, study), "mem_mb": memory_mb(cell, study),
            "minutes": minutes(cell, study, known=times),
        },
    }  # fmt: skip


def _steps(cell: Cell, predicted: Prediction, lengths: Lengths | None) -> int | None:
    if lengths:
        return cell.recipe.total_steps(_trained_rows(cell, lengths))
    return predicted.schedule.total_steps if predicted.schedule else None


def _batch(cell: Cell, lengths: Lengths | None) -> BatchShape:
    """The largest that the prepared rows can make, else the largest that the recipe allows."""
    most = declared_batch(cell)
    if lengths is None:
        return most
    target = min(most.target, lengths.longest_target)
    return BatchShape(min(most.rows, _trained_rows(cell, lengths)), min(most.length, lengths.longest), target)


def _trained_rows(cell: Cell, lengths: Lengths) -> int:
    """Prepared training rows without those held out. Raises BenchError where none is left."""
    held_out = cell.recipe.holdout_rows
    if held_out >= lengths.rows:
        raise BenchError(f"{cell.id}: {held_out} rows held out of {lengths.rows} leave none to train on")
    return lengths.rows - held_out


def _tokens(cell: Cell, steps: int | None, lengths: Lengths | None) -> dict[str, Any] | None:
    """Of the whole training without padding where rows are prepared; else what the recipe allows at the most."""
    if steps is None:
        return None
    rows = steps * cell.recipe.batch_size
    if lengths:
        return {"count": round(rows * lengths.tokens / lengths.rows), "is": "expected"}
    target = cell.recipe.max_target_length if cell.task.generates else 0
    return {"count": rows * (cell.recipe.max_length + target), "is": "at most"}
