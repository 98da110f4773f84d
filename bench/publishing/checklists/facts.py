"""What a checklist needs of a study's records beyond what its tables read: models, data sets, earlier failures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.analysis.results import Results
from bench.analysis.stats.predictions import read_predictions
from bench.config.cell import Cell
from bench.paths import CellPaths
from bench.records.io import read_record
from bench.records.schema import Record

JSON = dict[str, Any]


@dataclass
class Source:
    """One state of a data set or of a model: what the spec and what the record say of it, and in how many records."""

    spec: JSON
    record: JSON
    count: int = 0


@dataclass(frozen=True)
class Facts:
    """What the records of a study tell.

    Attributes:
        models: by backbone, its states: one, unless records are mixed.
        data: by task likewise; `spec` has the keys `task` and `data`.
        evaluated: by task and split, the number of rows that were scored, from the saved predictions.
        set_aside: records of failures that were moved away for another try.
    """

    results: Results
    models: Mapping[str, list[Source]] = field(default_factory=dict)
    data: Mapping[str, list[Source]] = field(default_factory=dict)
    evaluated: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    set_aside: tuple[Record, ...] = ()


def read_facts(results: Results) -> Facts:
    """Raises BenchError if a record or its predictions cannot be read."""
    models: dict[str, dict[str, Source]] = {}
    data: dict[str, dict[str, Source]] = {}
    for cell_id in results.records:
        record = results.full_record(cell_id)
        spec = record.spec
        _count(models.setdefault(record.cell.backbone, {}), spec["backbone"], record.model)
        _count(data.setdefault(record.cell.task, {}), {"task": spec["task"], "data": spec["data"]}, record.data)
    return Facts(
        results=results,
        models={name: list(states.values()) for name, states in models.items()},
        data={name: list(states.values()) for name, states in data.items()},
        evaluated={task: _evaluated(results, task) for task in data},
        set_aside=tuple(_set_aside(results)),
    )


def _count(states: dict[str, Source], spec: JSON, record: JSON) -> None:
    # Methods may bring recipes of their own, which say nothing of the data.
    deciding = {name: part for name, part in spec.items() if name != "task"}
    if "task" in spec:
        deciding["task"] = spec["task"]["data"]
    key = json.dumps([deciding, record], sort_keys=True)
    states.setdefault(key, Source(spec, record)).count += 1


def _evaluated(results: Results, task: str) -> dict[str, int]:
    """Rows per split in the predictions of the first cell of the task that has any."""
    for record in results.records.values():
        if record.cell.task == task and record.status == "ok":
            predictions = read_predictions(results.paths.cell(record.cell.id).predictions)
            if predictions:
                return {split: len(columns["row"]) for split, columns in predictions.items()}
    return {}


def _set_aside(results: Results) -> Iterator[Record]:
    for cell in _all_cells(results):
        for file in CellPaths(results.paths.cell(cell.id).folder).set_aside():
            yield read_record(file)


def _all_cells(results: Results) -> Iterator[Cell]:
    yield from results.cells
    for trials in results.study.trials.values():
        yield from trials
