"""Attention whose masks are made without looking at them.

transformers asks whether a mask hides anything, to leave it out if not. For the answer the host waits until the GPU has
done all that it was given, once per mask and batch. In a batch of rows of several lengths the answer is no.
"""

from __future__ import annotations

from typing import Any

MASKED = "sdpa_masked"  # our name for it among transformers' implementations of attention


def attention_on(device: str, implementation: str) -> str:
    """The implementation of attention to load a model with, on a device of that type ("cpu", "cuda").

    On the CPU nothing waits, and the answer saves a mask.
    """
    if device != "cuda" or implementation != "sdpa":
        return implementation
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    AttentionInterface.register(MASKED, sdpa_attention_forward)
    AttentionMaskInterface.register(MASKED, _mask)
    return MASKED


def _mask(*arguments: Any, attention_mask: Any = None, **options: Any) -> Any:
    """As transformers' mask for `sdpa`, which is left out only where there is nothing to look at."""
    from transformers.masking_utils import sdpa_mask

    if attention_mask is not None:
        options |= {"allow_is_causal_skip": False, "allow_is_bidirectional_skip": False}
    return sdpa_mask(*arguments, attention_mask=attention_mask, **options)
