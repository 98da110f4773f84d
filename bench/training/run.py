"""Train one cell, from its prepared files to its record, whatever happens on the way."""

from __future__ import annotations

import logging
from pathlib import Path

from bench.config.cell import Cell
from bench.device import usable_device
from bench.distributed import SINGLE_PROCESS, ProcessGroup
from bench.engine.optimizers import check_optimizer
from bench.errors import BenchError, TransientError
from bench.evaluation.evaluate import is_out_of_memory
from bench.evaluation.evaluate_modules import try_modules
from bench.log import configure_logging
from bench.paths import CachePaths
from bench.records.environment import other_processes
from bench.records.io import write_record
from bench.records.rung import stopped_here
from bench.records.schema import Record
from bench.training.attempt import Attempt
from bench.training.checkpoints import Checkpoints, Interval
from bench.training.course import earlier_scores, keep_rung
from bench.training.curve import Diverged, Watch, unwatched
from bench.training.done import inputs_of, recorded
from bench.training.signals import stop_flag

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
    rung: int | None = None,
) -> Record:
    """Train, evaluate and record `cell` in the folder `out`; return the record.

    `rung`: of a trial under successive halving, the rung at which the training ends for now. Its checkpoint stays, and
    the file of the rung is written in place of the record: what is returned is the record if it is stopped there.

    Everything must be prepared: no network is used. If `out` holds a record of the same spec, data and model, that one
    is returned. With several processes each one calls this function; the main process writes the files, and any of them
    may write the record of a failure. `watch` is called with the spec, each line of the curve, and the metrics.

    A loss that diverged and a GPU that ran out of memory become records of that status. Any other fault, memory that
    other processes took among them, raises a TransientError, so that the job is tried again, or becomes a record
    `failed` in the last of `attempts`. Bad input (BenchError) and signals (TransientError) are always raised.
    """
    configure_logging(cell.id)
    inputs = inputs_of(cell, cache, mirror)
    standing = recorded(out, inputs)
    if standing is not None:
        return standing
    try_modules(cell.task)
    device = usable_device()
    check_optimizer(cell.recipe.optimizer, device)
    identity = inputs.identity
    places = {"cell": identity, "model": inputs.model_manifest["files"]}
    checkpoints = Checkpoints(CachePaths(cache).checkpoints(identity, out), places, interval)
    with stop_flag() as flag:
        this_attempt = Attempt(
            cell=cell,
            inputs=inputs,
            out=out,
            checkpoints=checkpoints,
            flag=flag,
            device=device,
            watch=watch,
            process_group=process_group,
            attempt=attempt,
            rung=rung,
        )
        try:
            record = this_attempt.run()
            process_group.barrier()  # the adapter of a trial goes with its checkpoints: all processes are done with it
        except BenchError:
            raise
        except Diverged as error:
            record = this_attempt.failure("diverged", str(error), step=error.step)
        except Exception as error:
            record = _failure(this_attempt, error, last=attempt >= attempts)
        earlier = earlier_scores(cell, out, identity, rung)
        if rung is not None and record.status == "ok":
            record = stopped_here(record, rung, earlier)
            if process_group.is_main:
                keep_rung(record, rung, out)
        else:
            record = record.model_copy(update={"rungs": earlier})
            if process_group.is_main or record.status != "ok":
                write_record(record, out)
            if process_group.is_main and record.status != "failed":
                checkpoints.remove()
        if record.status == "ok":
            process_group.barrier()
    return record


def _failure(attempt: Attempt, error: Exception, *, last: bool) -> Record:
    """The record of a fault that would come back. Raises TransientError if the next attempt may be spared it."""
    text = f"{type(error).__name__}: {error}"
    logger.error("the attempt failed", exc_info=error)
    others = other_processes(str(attempt.device)) if is_out_of_memory(error) else []
    if others:  # what they hold says nothing about the cell
        text = f"out of memory while processes {others} used the device too: {error}"
    elif is_out_of_memory(error):
        # The next attempt may run on a host with more memory; a GPU stays as large as it is.
        if not last and attempt.device.type == "cpu":
            raise TransientError(f"out of memory on the host: {text}") from error
        return attempt.failure("oom", f"out of memory: {error}")
    if not last:
        raise TransientError(text) from error
    return attempt.failure("failed", text)
