"""The perplexity of a split as a function of sums over its rows, so that rows can be resampled."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bench.analysis.stats.resampling import Array, Floats, Sums
from bench.evaluation.perplexity import LOGLIKELIHOOD, TOKENS


def perplexity_sums(columns: Mapping[str, Array]) -> Sums | None:
    """From the columns of predictions: loss in nats and target tokens of each row; None where these are not saved.

    The perplexity of a resample is e to the sum of its losses over the sum of its tokens: long rows weigh more.
    """
    if LOGLIKELIHOOD not in columns or TOKENS not in columns:
        return None
    losses, tokens = (np.asarray(columns[name], dtype=float) for name in (LOGLIKELIHOOD, TOKENS))
    return Sums(np.stack([-losses, tokens], axis=1), _perplexity)


def _perplexity(sums: Floats) -> Floats:
    """(... x 2) to (...). Without its only row a split has no tokens; its perplexity is then 1."""
    loss, tokens = sums[..., 0], sums[..., 1]
    return np.exp(np.divide(loss, tokens, out=np.zeros_like(loss), where=tokens > 0))
