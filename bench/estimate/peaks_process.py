"""The process that predicts peaks for bench/estimate/declared_peaks.py: cells come pickled, peaks go as JSON.

python -m bench.estimate.peaks_process < CELLS
"""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Sequence

from bench.config.cell import Cell
from bench.estimate.memory import declared_batch, predict_peak
from bench.estimate.parameters import Unpredictable, predict_parameters


def peaks_of(cells: Sequence[Cell]) -> list[int | None]:
    """The predicted peak of each cell on a GPU, in bytes, for the largest batch of its recipe; None: unpredictable."""
    peaks: list[int | None] = []
    for cell in cells:
        try:
            peaks.append(predict_peak(cell, predict_parameters(cell), declared_batch(cell), "cuda").total)
        except Unpredictable:
            peaks.append(None)
    return peaks


if __name__ == "__main__":
    print(json.dumps(peaks_of(pickle.load(sys.stdin.buffer))))
