"""rung-<k>.json: what a trial came to at the k-th rung of successive halving, for the trials that it is compared with.

The file is written whole or not at all, and reading refuses one that was edited by hand or is damaged.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, ValidationError

from bench.config.tuning import HELD_OUT
from bench.config.types import Stored
from bench.errors import BenchError
from bench.files import canonical_json, clear_when_full, digest_json, write_atomic
from bench.records.rung_score import RungScore
from bench.records.schema import Record, Status


class Rung(Stored):
    """What a trial came to at rung `rung`, counted from 1.

    `trial` is its hash (`Cell.identity`) and `id` its name. `score` is None where the trial diverged or failed before
    the rung, as `status` says. `stopped`: an earlier rung stopped it, and `score` is of that one. `record`: what the
    trial's record says if this rung is its last; None where the trial has its record already.
    """

    model_config = ConfigDict(ser_json_inf_nan="constants")

    trial: str
    id: str
    rung: int
    status: Status
    stopped: bool = False
    score: RungScore | None = None
    record: dict[str, Any] | None = None

    @classmethod
    def of(cls, record: Record, rung: int) -> Rung:
        """What the `record` of a trial says of a rung: also of one that the trial did not reach."""
        reached, last = record.rungs[:rung], record.training.stopped_at_rung if record.training else None
        stopped = last is not None and last < rung
        has_score = bool(reached) and (stopped or len(reached) == rung)
        return cls(
            trial=record.cell.hash,
            id=record.cell.id,
            rung=rung,
            status="ok" if has_score else record.status,
            stopped=stopped,
            score=reached[-1] if has_score else None,
        )


def stopped_here(record: Record, rung: int, earlier: tuple[RungScore, ...]) -> Record:
    """The record of a trial that was trained to `rung` alone, where the trial is stopped there."""
    assert record.training is not None
    score = RungScore(
        step=record.training.steps,
        metrics=record.metrics[HELD_OUT][record.selection],
        loss=record.loss[HELD_OUT],
    )
    training = record.training.model_copy(update={"stopped_at_rung": rung})
    return record.model_copy(update={"training": training, "rungs": (*earlier, score)})


def write_rung(rung: Rung, file: Path) -> None:
    """Raises TransientError if the disk is full."""
    data = rung.model_dump(mode="json")
    text = canonical_json({**data, "sha256": digest_json(data)})
    with clear_when_full(file.parent, len(text)):
        write_atomic(file, text)


def read_rung(file: Path) -> Rung | None:
    """The rung in `file`, None if there is no such file. Raises BenchError where it can't be read or was changed."""
    try:
        data = json.loads(file.read_bytes())
        written = data.pop("sha256", None)
        if digest_json(data) != written:
            raise ValueError("its content does not match its hash")
        return Rung.model_validate(data)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError, RecursionError, ValidationError) as error:
        raise BenchError(f"{file}: no readable rung ({error}): remove it, and train the trial to it again") from error
