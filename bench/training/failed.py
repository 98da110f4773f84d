"""The record of an attempt that failed for good, whatever the device still tells."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch

from bench.records.schema import BaseBytes, Bytes, PeakBytes, Record, Status, Training

logger = logging.getLogger(__name__)
T = TypeVar("T")


def failed_record(
    *,
    common: Mapping[str, Any],
    status: Status,
    message: str,
    log_tail: tuple[str, ...],
    training: Callable[[], Training] | None,
    base: BaseBytes | None,
    peak: Callable[[], PeakBytes],
    device: torch.device,
) -> Record:
    """The record of a cell that failed. What is None was not known by then; the functions ask the device."""
    sizes = Bytes(
        base=base,
        adapter_file=None,
        gradients=None,
        optimizer=None,
        importance=None,
        peak=if_told(peak) or PeakBytes(device=str(device), peak=0),
    )
    done = None if training is None else if_told(training)
    return Record(**common, status=status, message=message, log_tail=log_tail, training=done, bytes=sizes)


def if_told(ask: Callable[[], T]) -> T | None:
    """What `ask` returns; None where the device does not answer.

    After some errors of CUDA each further call fails, and where CUDA does not start each one does, with exceptions of
    several classes (DeferredCudaCallError is no RuntimeError). What the record says of the failure must not depend on
    them.
    """
    try:
        return ask()
    except Exception as error:
        logger.warning("missing in the record: %s", error)
        return None
