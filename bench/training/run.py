"""One cell, from its prepared files to its record: what was asked for, whatever happens on the way."""

from __future__ import annotations

import logging
from pathlib import Path

from bench.config.cell import Cell
from bench.distributed import SINGLE_PROCESS, ProcessGroup
from bench.errors import BenchError, TransientError
from bench.evaluation.evaluate import is_out_of_memory
from bench.evaluation.evaluate_modules import try_modules
from bench.log import configure_logging
from bench.paths import CachePaths
from bench.records.io import write_record
from bench.records.schema import Record
from bench.training.checkpoints import Checkpoints, Interval
from bench.training.curve import Diverged, Watch, unwatched
from bench.training.done import inputs_of, recorded
from bench.training.signals import stop_flag
from bench.training.trial import Trial

logger = logging.getLogger(__name__)


def train_cell(
    cell: Cell,
    *,
    out: Path,
    cache: Path,
    mirror: Path | None = None,
    attempt: int = 1,
    attempts: int = 1,
    interval: Interval | None = None,
    watch: Watch = unwatched,
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> Record:
    """Train, evaluate and record `cell` in `out`; the record. Prepares nothing, uses no network. Every process of
    `process_group` calls it alike; its leader writes, and any of them the record of a failure.

    A record of the same spec, data and model is left as it is. A diverged loss and a device out of memory become typed
    records. Other faults raise (TransientError: try again), and at the last of `attempts` become a record `failed`;
    bad input (BenchError) and signals never do. `watch` is told the spec, each line of the curve, and the metrics.
    """
    configure_logging(cell.id)
    inputs = inputs_of(cell, cache, mirror)
    standing = recorded(out, inputs)
    if standing is not None:
        return standing
    try_modules(cell.task)
    identity = inputs.identity
    places = {"cell": identity, "model": inputs.model_manifest["files"]}
    checkpoints = Checkpoints(CachePaths(cache).checkpoints(identity, out), places, interval)
    with stop_flag() as flag:
        trial = Trial(
            cell=cell,
            inputs=inputs,
            out=out,
            checkpoints=checkpoints,
            flag=flag,
            watch=watch,
            process_group=process_group,
            attempt=attempt,
        )
        try:
            record = trial.run()
        except BenchError:
            raise
        except Diverged as error:
            record = trial.failure("diverged", str(error), step=error.step)
        except Exception as error:
            record = _failure(trial, error, last=attempt >= attempts)
        if process_group.is_main or record.status != "ok":
            write_record(record, out)
        if process_group.is_main and record.status != "failed":
            checkpoints.remove()
        if record.status == "ok":
            process_group.barrier()
    return record


def _failure(trial: Trial, error: Exception, *, last: bool) -> Record:
    """The record of a fault that would come back. Raises TransientError where another try may not meet it."""
    text = f"{type(error).__name__}: {error}"
    logger.error("the attempt failed", exc_info=error)
    if is_out_of_memory(error):
        # a host may have more memory at the next try; a device is as large as it is
        if not last and trial.device.type == "cpu":
            raise TransientError(f"out of memory on the host: {text}") from error
        return trial.failure("oom", f"out of memory: {error}")
    if not last:
        raise TransientError(text) from error
    return trial.failure("failed", text)
