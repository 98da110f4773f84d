"""Start one cell in several processes with torchrun's agent."""

from __future__ import annotations

import logging
import os
import sys
import uuid
from collections.abc import Sequence
from tempfile import TemporaryDirectory

from bench.errors import EXIT_TRY_AGAIN, BenchError
from bench.training.group import KILLED
from bench.training.signals import SIGNALS

logger = logging.getLogger(__name__)
SHUTDOWN_TIMEOUT = 3600  # seconds to save a checkpoint after a signal; whoever sent it kills earlier if it must


def launch(words: Sequence[str], processes: int, gpus: Sequence[str]) -> int:
    """Run `bench WORDS` in so many `processes`, each on one of `gpus` (empty: all on the CPU).

    It does what `torchrun --standalone --nproc-per-node=N --max-restarts=0 --virtual-local-rank -m bench.cli WORDS`
    does, so each process finds RANK, WORLD_SIZE and LOCAL_RANK in its environment and sees one GPU. Signals that ask
    to stop reach every process; if one process fails, the agent ends the others.

    Returns 0 if all processes did, else the exit code of the one that failed by itself: KILLED plus the number of the
    signal that ended it, or EXIT_TRY_AGAIN if none has another cause to report. Raises BenchError if there are too few
    GPUs.
    """
    if gpus and len(gpus) < processes:
        raise BenchError(f"{processes} processes need {processes} GPUs, here are {len(gpus)}: {', '.join(gpus)}")
    if gpus:
        # torchrun reads which GPUs there are from this variable of AMD's first, and a site may set it on all nodes.
        # The processes would then work on other GPUs than those that are held.
        os.environ.pop("HIP_VISIBLE_DEVICES", None)
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # failures are reported below
    with TemporaryDirectory(prefix="bench-torchrun-") as folder:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=0,  # Snakemake tries again, with a new log and the next attempt's resources
            logs_specs=DefaultLogsSpecs(log_dir=folder),
            signals_to_handle=",".join(number.name for number in SIGNALS),
            virtual_local_rank=bool(gpus),
            shutdown_timeout=SHUTDOWN_TIMEOUT,
        )
        try:
            elastic_launch(config, sys.executable)("-u", "-m", "bench.cli", *words)
        except SignalException:
            return EXIT_TRY_AGAIN
        except ChildFailedError as error:
            codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
            for rank, code in sorted(codes.items()):
                logger.error("process %d of %d ended with exit code %d", rank, processes, code)
            return _joint_code(list(codes.values()))
    return 0


def _joint_code(codes: Sequence[int]) -> int:
    """The first code that names a cause: EXIT_TRY_AGAIN is also that of a process that has lost another."""
    positive = [code if code >= 0 else KILLED - code for code in codes]
    return next((code for code in positive if code != EXIT_TRY_AGAIN), EXIT_TRY_AGAIN)
