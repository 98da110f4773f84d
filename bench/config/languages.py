"""Languages: from which language into which a task translates. The block `languages` of a task's file."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, StringConstraints

from bench.config.types import Frozen

Codes = Annotated[
    list[Annotated[str, StringConstraints(pattern=r"^[\w-]+$")]],
    BeforeValidator(lambda codes: [codes] if isinstance(codes, str) else codes, json_schema_input_type=str | list[str]),
    Field(min_length=1),
]


class Languages(Frozen):
    """Two languages, each by its code, or by the list of the codes that different tokenizers have for it."""

    source: Codes = Field(
        description="Code of the source language, such as en_XX (mBART-50), eng_Latn (NLLB) or en (M2M100); of a list "
        "the first code that the tokenizer has."
    )
    target: Codes = Field(description="Code of the target language, such as de_DE, deu_Latn or de; or a list of codes.")
