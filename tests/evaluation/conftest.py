from helpers.fixtures import shared_lab, shared_summaries

__all__ = ["shared_lab", "shared_summaries"]
