"""A small study that tunes its recipe, and made-up records of its trials."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from bench.config.cell import Cell
from bench.config.resolve import ResolvedStudy, load_study
from bench.config.tuning import HELD_OUT
from bench.paths import StudyPaths
from bench.records.io import write_record
from bench.records.schema import CellKey, Record, Reported, Seconds, Training
from helpers.records import ENVIRONMENT, make_bytes

RATES = "learning_rate: [0.001, 0.002, 0.004, 0.008]"


@lru_cache
def tuned_study(space: str = RATES, *overrides: str, tuning: str = "") -> ResolvedStudy:
    """The study `demo` with tasks cola and sst2, methods lora and adalora and one seed, tuned over `space`.

    `tuning`: further keys of the block, such as 'trials: 4, seeds: [100, 101]'.
    """
    block = f"tuning={{space: {{{space}}}, holdout_rows: 40{', ' if tuning else ''}{tuning}}}"
    names = (
        "tasks=[cola, sst2]",
        "methods=[lora, adalora]",
        "budgets={small: {rank: 2}}",
        "seeds=[0]",
        "recipe_from=null",
    )
    return load_study("demo", [*names, block, *overrides])


def write_trial(
    paths: StudyPaths, trial: Cell, score: float | None, loss: float | None = 0.5, status: Any = "ok", **changes: Any
) -> Path:
    """Write the record of `trial` with this score in every metric; return its file. `changes`: fields of the record."""
    folder = paths.cell(trial.id).folder
    folder.mkdir(parents=True, exist_ok=True)
    return write_record(trial_record(trial, score, loss, status, **changes), folder)


def trial_record(trial: Cell, score: float | None, loss: float | None, status: Any = "ok", **changes: Any) -> Record:
    """A record as a trial leaves it. `stopped_at_rung` and `steps` are those of its training."""
    identity = trial.identity("f")
    stopped, steps = changes.pop("stopped_at_rung", None), changes.pop("steps", 40)
    seconds = Seconds(startup=4, training=6, evaluation=1, saving=0.1, total=11.1)
    common: dict[str, Any] = {
        "kind": "trial",
        "cell": CellKey.of(trial, identity),
        "spec": trial.model_dump(mode="json"),
        "environment": ENVIRONMENT,
        "data": {"synthetic": False, "fingerprint": "f"},
        "status": status,
    }
    if status != "ok":
        return Record(**{**common, "message": "no luck", **changes})
    fields: dict[str, Any] = {
        **common,
        "reported": Reported(split=HELD_OUT, metric=trial.task.metric, value=score),
        "metrics": {HELD_OUT: {"last": dict.fromkeys(trial.task.metrics, score)}},
        "loss": {HELD_OUT: loss},
        "training": Training(
            steps=steps, skipped_steps=0, rows=640, tokens=9600, seconds=seconds, stopped_at_rung=stopped
        ),
        "bytes": make_bytes(trial, 1000, 1000),
        **changes,
    }
    return Record(**fields)
