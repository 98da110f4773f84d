from helpers.fixtures import lab, shared_lab, shared_summaries, summaries, undisturbed

__all__ = ["lab", "shared_lab", "shared_summaries", "summaries", "undisturbed"]
