"""Answers: how a context is read in windows, and how an answer is chosen in it. Block `answers` of a task's file."""

from __future__ import annotations

from pydantic import Field

from bench.config.types import Frozen, NonNegative, Positive


class Answers(Frozen):
    """Settings of a question-answering task. The defaults are those of BERT's published code for SQuAD."""

    stride: NonNegative = Field(
        128,
        description="Tokens that two neighboring windows of a context share, where it is too long for one. "
        "The default is 128.",
    )
    n_best: Positive = Field(
        20,
        description="Best starts and best ends of each window of which every pair is a candidate. The default is 20.",
    )
    max_tokens: Positive = Field(30, description="Largest number of tokens of an answer. The default is 30.")
    no_answer: bool = Field(
        False,
        description="Whether a question may have no answer, as in SQuAD 2.0. The default false refuses such rows.",
    )
    threshold: float = Field(
        0.0,
        description="With no_answer: by how much the score of no answer must be above that of the best answer, in "
        "logits, so that none is given. The default is 0.",
    )
