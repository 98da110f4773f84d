"""The plan of a study: what every cell will hold and how long it will take, before any GPU hour is spent."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from bench.config.cell import Cell
from bench.config.rank_schedule import cap_of
from bench.config.resolve import ResolvedStudy
from bench.errors import BenchError
from bench.estimate.duration import Forecaster, forecaster
from bench.estimate.hardware import CPU, UNKNOWN_GPU, Hardware, as_multiplied
from bench.estimate.jobs import given_minutes, gpus, hardware_for, memory_mb, minutes
from bench.estimate.lengths import longest_source
from bench.estimate.memory import declared_batch, predict_peak
from bench.estimate.parameters import Prediction, Unpredictable, predict_parameters
from bench.estimate.run_time import run_time
from bench.estimate.tracing import BatchShape, Device
from bench.estimate.tuning_cost import expected_fraction, largest, planning_key, possible_cells
from bench.inputs.cache_keys import data_folder
from bench.inputs.splits import open_split, split_file
from bench.paths import RESULTS, default_cache
from bench.tuning.choose import with_choices

CURVE_BYTES = 170  # one step's line in curve.jsonl
RECORD_BYTES = 30_000  # a record and its log


def plan(
    study: ResolvedStudy,
    device: Device = "cpu",
    *,
    results: Path = RESULTS,
    cache: Path | None = None,
    mirror: Path | None = None,
    hardware: Hardware | None = None,
) -> list[dict[str, Any]]:
    """One row per trial and final cell of `study`, as plain JSON: parameters, bytes, seconds, what its job asks for.

    `kind` tells trials and cells apart; a trial's `seconds` are those of `expected_steps`, which are fewer than its
    `steps` where successive halving stops some. A final cell that awaits its choice (`awaits_choice`) has the largest
    sizes and the longest time of all points.

    `device` is where training will run, `hardware` what is known of it. Without the latter, durations come from the
    device that made most records. Records are those below `results`, the lengths of prepared rows are from `cache`
    (default: cache/ below `results`). In a row, `steps` is None if neither the task's file nor prepared data says how
    many rows there are, `seconds` is None if there is no record of a cell like it, `minutes_from` says what the time
    limit of the job comes from, and `predicted_peak` holds a reason (`unknown`) in place of bytes if the model's code
    can't be followed without values.

    Raises BenchError if a backbone's file has no `config`, or if no row would be left to train on.

    Example:
        >>> plan(load_study("demo"))[0]["adapter_parameters_start"]
    """
    rows_by_key: dict[str, dict[str, Any]] = {}
    times = forecaster(results)  # for what is done, on whichever device
    rows = []
    study = with_choices(study, results)

    def planned(cell: Cell) -> dict[str, Any]:
        key = planning_key(cell)
        if key not in rows_by_key:
            lengths = prepared_lengths(cell, mirror, cache or default_cache(results))
            applies = hardware and hardware_for(cell, study.study, hardware)
            rows_by_key[key] = _row(cell, study, device, lengths, forecaster(results, applies), applies)
        return rows_by_key[key]

    for cell in (*itertools.chain.from_iterable(study.trials.values()), *study.cells):
        kind, awaits = "trial" if cell.trial else "cell", study.awaits_choice(cell)
        row = largest([planned(possible) for possible in possible_cells(study, cell)])
        names = {"cell": cell.id, "kind": kind, "group": cell.group, "awaits_choice": awaits}
        rows.append({**names, **row, "taken_seconds": times.taken(cell)})
    return rows


@dataclass(frozen=True)
class Lengths:
    """The prepared training rows of a cell.

    rows: their number; trained: of those that are not held out. longest, longest_target: tokens of the longest source
    and target. tokens: of all sources and targets together, without padding.
    """

    rows: int
    trained: int
    longest: int
    longest_target: int
    tokens: int


def prepared_lengths(cell: Cell, mirror: Path | None, cache: Path) -> Lengths | None:
    """The lengths of the cell's training rows; None if nothing is prepared for it yet."""
    file = split_file(data_folder(cell.task, cell.backbone, cell.data, mirror, cache), "train")
    return _lengths(file, cell.recipe.holdout_rows) if file.is_file() else None


@lru_cache(maxsize=64)
def _lengths(file: Path, held_out: int) -> Lengths:
    split = open_split(file)
    trained, _ = split.held_out(held_out)
    sources, targets = split.lengths, split.target_lengths
    return Lengths(len(split), len(trained), max(sources), max(targets), sum(sources) + sum(targets))


def _row(
    cell: Cell,
    study: ResolvedStudy,
    device: Device,
    lengths: Lengths | None,
    times: Forecaster,
    hardware: Hardware | None,
) -> dict[str, Any]:
    predicted = predict_parameters(cell)
    steps = _steps(cell, predicted, lengths)
    batch = largest_batch(cell, lengths)
    expected: float | None = steps
    if cell.trial is not None and steps is not None:
        points = len({trial.trial.point for trial in study.trials[cell.tuned_group] if trial.trial})
        expected = steps * expected_fraction(cell.trial.halving, points)
    forecast = times.forecast(cell, expected)
    place = hardware or (UNKNOWN_GPU if device == "cuda" else CPU)
    given = {"given": "resources.runtime"} if given_minutes(cell, study.study) else None
    # Float32. The heads are in the same file, pruned ranks are not.
    saved = 0 if cell.trial else 4 * (predicted.adapter_end[1] + sum(predicted.head.values()))  # a trial keeps no model
    return {
        "steps": steps,
        "expected_steps": expected,
        "tokens": _tokens(cell, steps, lengths),
        "budget": _budget(cell, predicted),
        "adapter_parameters_start": predicted.adapter_start,
        "adapter_parameters_end": list(predicted.adapter_end),
        "head_parameters": predicted.head,
        "total_parameters": predicted.total,
        "base_bytes": predicted.base.model_dump(),
        "unpacked_parameters": predicted.unpacked,
        "adapter_bytes": 4 * predicted.adapter_start,
        "gradient_bytes": predicted.gradients,
        "optimizer_bytes": predicted.optimizer,
        "importance_bytes": predicted.importance,
        "batch": {
            "rows": batch.rows,
            "length": batch.length,
            "target_length": batch.target,
            "from": "prepared data" if lengths else "recipe",
        },
        "predicted_peak": _peak_row(
            as_multiplied(cell, slow_at_bfloat16=place.slow_at_bfloat16), predicted, batch, device
        ),
        "seconds": forecast.seconds if forecast else None,
        "seconds_from": (
            {"records": forecast.records, "same": forecast.by, "device": forecast.device, "slower": forecast.slower}
            if forecast
            else None
        ),
        "disk_bytes": saved + RECORD_BYTES + CURVE_BYTES * (steps or 0),
        "job": {
            "gpus": gpus(cell, study.study),
            "mem_mb": memory_mb(cell, study.study),
            "minutes": minutes(cell, study.study, times=times, hardware=place),
        },
        "minutes_from": given or run_time(cell, hardware_for(cell, study.study, place), times).basis(cell),
    }


def _budget(cell: Cell, predicted: Prediction) -> dict[str, Any]:
    """The cap, and how much of it the finished adapter uses at the most, both in the cap's unit."""
    if predicted.schedule is None:
        return {"unit": cell.method.unit, "limit": None, "used_at_most": None}
    unit, limit = cap_of(cell, predicted.schedule)
    ranks = predicted.schedule.target_budget
    return {"unit": unit, "limit": limit, "used_at_most": predicted.adapter_end[1] if unit == "parameters" else ranks}


def _peak_row(cell: Cell, predicted: Prediction, batch: BatchShape, device: Device) -> dict[str, Any]:
    """The predicted peak in bytes; where it can't be predicted, the device and the reason alone."""
    try:
        peak = predict_peak(cell, predicted, batch, device)
    except Unpredictable as error:
        return {"device": device, "unknown": str(error)}
    return {
        "device": peak.device,
        "loaded_bytes": peak.loaded,
        "state_bytes": peak.state,
        "activation_bytes": peak.activations,
        "workspace_bytes": peak.workspace,
        "growth_bytes": peak.growth,
        "total_bytes": peak.total,
    }


def _steps(cell: Cell, predicted: Prediction, lengths: Lengths | None) -> int | None:
    """Optimizer steps; prepared rows have the last word, because they are what is trained on."""
    if lengths:
        return cell.recipe.total_steps(_trained_rows(cell, lengths))
    return predicted.schedule.total_steps if predicted.schedule else None


def largest_batch(cell: Cell, lengths: Lengths | None) -> BatchShape:
    """The largest micro-batch that the prepared rows can make, else the largest that the recipe allows."""
    declared = declared_batch(cell)
    if lengths is None:
        return declared
    return BatchShape(
        rows=min(declared.rows, _trained_rows(cell, lengths)),
        length=min(declared.length, lengths.longest),
        target=min(declared.target, lengths.longest_target),
    )


def _trained_rows(cell: Cell, lengths: Lengths) -> int:
    """Prepared training rows without those that are held out. Raises BenchError if none is left."""
    if not lengths.trained:
        held_out = cell.recipe.holdout_rows
        raise BenchError(f"{cell.id}: {held_out} rows held out of {lengths.rows} leave none to train on")
    return lengths.trained


def _tokens(cell: Cell, steps: int | None, lengths: Lengths | None) -> dict[str, Any] | None:
    """Tokens of the whole training: without padding where rows are prepared, else as many as the recipe allows."""
    if steps is None:
        return None
    rows = steps * cell.recipe.batch_size
    if lengths:  # `rows` repeat over the epochs, so the average length of the split is what is expected
        return {"count": round(rows * lengths.tokens / lengths.rows), "is": "expected"}
    target = cell.recipe.max_target_length if cell.task.facts.target_tokens else 0
    return {"count": rows * (longest_source(cell) + target), "is": "at most"}
