"""How far apart two trainings may be: the spread of the recorded seeds, or of one seed's score over its examples."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import mean, stdev

import numpy as np
from scipy.special import stdtrit
from statsmodels.stats.proportion import proportion_confint

from bench.analysis.stats.mean_interval import LEVEL, MIN_SEEDS
from bench.analysis.stats.predictions import checked_sums, in_order, read_predictions
from bench.analysis.stats.resampling import Sums, replicates
from bench.config.cell import spec_hash_of
from bench.config.task import Task
from bench.records.found import seeds_beside
from bench.records.io import read_record
from bench.records.schema import Record
from bench.reproduction.recorded import Recorded

ROUNDING = 1e-9  # of a score: a smaller step over a bound comes from rounding


@dataclass(frozen=True)
class Spread:
    """The scores, as recorded, that count as within the spread; `how` says what they were computed from."""

    low: float
    high: float
    how: str

    def holds(self, score: float) -> bool:
        return self.low - ROUNDING <= score <= self.high + ROUNDING


def recorded_spread(recorded: Recorded, task: Task) -> Spread | None:
    """Where one more training of the cell's group is expected, from its recorded seeds; None if nothing tells it.

    With three seeds and more: Student's 95% prediction interval of a further score, mean ± t sd sqrt(1 + 1/n). The
    range of the seeds would be too narrow: of three seeds, every second further one falls outside of it. With fewer
    seeds, or where all have one score: the 95% interval of the cell's own score over its examples, Clopper and
    Pearson's for a share of right examples, else percentiles of 2,000 bootstrap resamples. It only says that the two
    scores differ by less than other examples would change them.

    Raises BenchError if a record beside it, or the file of predictions, can't be read or was edited.
    """
    scores = [score for record in _group(recorded) if (score := score_of(record)) is not None]
    if len(scores) >= MIN_SEEDS and stdev(scores) > ROUNDING:
        n = len(scores)
        half_width = float(stdtrit(n - 1, (1 + LEVEL) / 2)) * stdev(scores) * math.sqrt(1 + 1 / n)
        return Spread(mean(scores) - half_width, mean(scores) + half_width, f"95% for a further seed, from {n} seeds")
    return _over_examples(recorded, task)


def score_of(record: Record) -> float | None:
    """The reported score as recorded; None where the cell has none, or an undefined one."""
    return record.reported.value if record.status == "ok" and record.reported else None


def _group(recorded: Recorded) -> Iterator[Record]:
    """The records of the cell's group beside it, its own among them: of the same spec but for the seed."""
    own = _without_seed(recorded.record)
    yield recorded.record
    for file in seeds_beside(recorded.paths):
        if not file.samefile(recorded.file):
            record = read_record(file)
            if _without_seed(record) == own and record.data.get("fingerprint") == recorded.record.data["fingerprint"]:
                yield record


def _without_seed(record: Record) -> str:
    # Ranks that are taken over from another cell differ by its seed.
    return spec_hash_of({**record.spec, "seed": 0, "given": None})


def _over_examples(recorded: Recorded, task: Task) -> Spread | None:
    record, reported = recorded.record, recorded.record.reported
    predictions = read_predictions(recorded.paths.predictions)
    if reported is None or reported.value is None or predictions is None or reported.split not in predictions:
        return None
    columns = in_order(predictions[reported.split])
    sums = checked_sums(task, reported.metric, columns, reported.value, recorded.paths.predictions)
    if sums is None:
        return None
    low, high = _bounds(sums, f"{record.cell.task}/{reported.split}")
    return Spread(low, high, f"95% over the {len(sums.columns):,} examples of this one seed")


def _bounds(sums: Sums, name: str) -> tuple[float, float]:
    if sums.share:
        low, high = proportion_confint(sums.columns.sum(), len(sums.columns), alpha=1 - LEVEL, method="beta")
        return float(low), float(high)
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    low, high = np.quantile(replicates([sums], name)[:, 0], tails)
    return float(low), float(high)
