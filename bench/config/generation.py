"""Generation: everything that decides a generated text, apart from the model. The block `generation` of a task's file.

What a checkpoint brings along (generation_config.json) decides nothing: a key that is left out has the default here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, ValidationInfo, field_validator

from bench.config.types import Frozen, NonNegative, Positive


class Generation(Frozen):
    """Arguments of `generate`, for tasks whose model writes text. Nothing is drawn at random."""

    beams: Positive = Field(1, description="Beams of the beam search; 1 is greedy decoding. The default is 1.")
    max_length: Annotated[int, Field(ge=2)] = Field(
        128,
        description="Largest number of tokens of a text, with the start token; of a decoder, which has none, of what "
        "it writes behind the prompt. The default is 128.",
    )
    min_length: NonNegative = Field(
        0, description="Smallest number of tokens of a text, with the start token. The default is 0."
    )
    length_penalty: float = Field(
        1.0, description="Exponent of the length in a beam's score, for beams above 1. The default is 1."
    )
    no_repeat_ngram: NonNegative = Field(
        0, description="Size of the n-grams that may not repeat; 0 allows all. The default is 0."
    )
    repetition_penalty: Annotated[float, Field(gt=0)] = Field(
        1.0, description="Divisor of the scores of tokens that were generated before. The default is 1."
    )
    early_stopping: StrictBool | Literal["never"] | None = Field(
        None,
        description="When the beam search of a row ends: true as soon as there are as many texts as beams, false where "
        "better ones are unlikely, never where there can be none. The default null means true with beams.",
    )

    stop: list[Annotated[str, Field(min_length=1)]] = Field(
        [],
        description="Texts at which a decoder stops; they and what follows are no part of its text. "
        "The default is none.",
    )

    @field_validator("min_length")
    @classmethod
    def _below_the_largest(cls, value: int, info: ValidationInfo) -> int:
        largest = info.data.get("max_length")
        if largest is not None and value > largest:
            raise ValueError(f"expected at most max_length, which is {largest}, found {value}")
        return value

    @field_validator("length_penalty", "early_stopping")
    @classmethod
    def _with_beams(cls, value: Any, info: ValidationInfo) -> Any:
        if info.data.get("beams") == 1 and value != cls.model_fields[str(info.field_name)].default:
            raise ValueError(f"{value!r} has no effect without a beam search: set beams above 1, or leave it out")
        return value

    @property
    def stops_early(self) -> bool | str:
        """`early_stopping`, with its default filled in."""
        return self.beams > 1 if self.early_stopping is None else self.early_stopping


def position_fault(generation: Generation | None, config: Mapping[str, Any]) -> str | None:
    """Why a model with this config (config.json, or a backbone's `config`) can't write the longest texts; or None.

    Only tables of positions set a limit. T5's positions are relative, and its config names no such size.
    """
    decoder = {**config, **(config.get("decoder") or {})}
    sizes = {name: decoder.get(name) for name in ("max_decoder_position_embeddings", "max_position_embeddings")}
    name, positions = next(((name, size) for name, size in sizes.items() if isinstance(size, int)), ("", 0))
    # The last token is written, but never read.
    if generation is None or positions <= 0 or generation.max_length - 1 <= positions:
        return None
    return f"generation.max_length is {generation.max_length}, above the {positions} positions ({name})"
