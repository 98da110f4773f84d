"""The labs of decoders."""

from helpers.fixtures import shared_choices, shared_summaries, shared_sums, undisturbed

__all__ = ["shared_choices", "shared_summaries", "shared_sums", "undisturbed"]
