"""Splits of rows that a test makes itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow

from bench.inputs.splits import Column, Split


def split_of(input_ids: Sequence[np.ndarray], targets: Sequence[Any], label_ids: Sequence[np.ndarray]) -> Split:
    """A split of these rows, numbered from 0, as it comes from a file."""

    def column(values: Sequence[Any], kind: Any = None) -> Column:
        return Column(pyarrow.chunked_array([pyarrow.array(values, kind)]))

    ids = pyarrow.list_(pyarrow.int32())
    return Split(column(input_ids, ids), column(targets), column(label_ids, ids), column(range(len(targets))))
