"""Perplexity per target token: e to the mean negative log-likelihood, in nats, of the tokens of all target texts.

The token that ends a text is one of them; prompts, sources and padding are not. Tokens are those of the model's own
tokenizer, so perplexities of models with different tokenizers are of different units and can't be compared.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

# Columns of predictions: the log-likelihood of each target text, in nats, and its number of tokens. Tasks of the kind
# causal-lm have them, and all that name the perplexity among their metrics.
LOGLIKELIHOOD, TOKENS = "loglikelihood", "target_tokens"


def perplexity(loglikelihoods: Sequence[float], tokens: Sequence[int]) -> float | None:
    """Of the log-likelihood, in nats, and the number of target tokens of each row; None where it is not finite.

    It is no mean over rows: a row counts as many times as it has tokens.

    >>> round(perplexity([-2.0, -4.0], [2, 1]) or 0, 4)  # e to the 6 / 3
    7.3891
    """
    return perplexity_of_loss(-math.fsum(loglikelihoods) / sum(tokens))


def perplexity_of_loss(loss: float | None) -> float | None:
    """The perplexity of a mean loss in nats per target token; None where there is no finite one."""
    return None if loss is None or not loss <= math.log(sys.float_info.max) else math.exp(loss)
