from helpers.fixtures import lab, questions, shared_lab, shared_questions, shared_summaries, summaries, undisturbed

__all__ = ["lab", "questions", "shared_lab", "shared_questions", "shared_summaries", "summaries", "undisturbed"]
