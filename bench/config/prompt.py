"""Prompt: how a row becomes the text that a decoder continues, and what it should write. Block `prompt` of a task."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from string import Formatter
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from bench.config.types import Frozen
from bench.errors import nearest

OPTION = "option"  # the field of a multiple-choice task's completion that stands for each of the options


def fields_of(template: str) -> list[str]:
    """The names in braces, in their order.

    >>> fields_of("Question: {question}\\nAnswer:")
    ['question']
    """
    return [field for _, field, _, _ in Formatter().parse(template) if field is not None]


def filled(template: str, values: Mapping[str, str]) -> str:
    """`template` with the value of each name in braces. Doubled braces stand for single ones.

    >>> filled("{translation.en} {{in}}", {"translation.en": "A dog"})
    'A dog {in}'
    """
    parts = Formatter().parse(template)
    # Not str.format, for which a dot in a name is an attribute.
    return "".join(text + ("" if field is None else values[field]) for text, field, _, _ in parts)


def _template(text: str) -> str:
    try:
        for _, field, form, conversion in Formatter().parse(text):
            if field is not None and (not field or form or conversion):
                raise ValueError("expected the name of a column alone in braces")
    except ValueError as error:
        raise ValueError(f"{error}: {text!r}; write {{column}} for a column, and {{{{ for a brace") from None
    return text


Template = Annotated[str, AfterValidator(_template)]


class Prompt(Frozen):
    """The template of a row: what the model is given, and what it should write."""

    text: Template = Field(description="What the model is given, with a column's name in braces for its value.")
    completion: Template = Field(
        description="What the model should write, such as ' {answer}'; in multiple-choice tasks {option} stands for "
        "each of the options."
    )
    chat: bool = Field(
        False,
        description="Whether the text is a user's message in the tokenizer's own chat template. The default false "
        "gives it to the model as it is.",
    )
    cut: Literal["start", "end"] = Field(
        "start",
        description="Which end of a prompt that is longer than recipe.max_length is cut off. The default is "
        "start, so that the model still reads what its answer follows.",
    )

    def faults(self, prompt_columns: Collection[str], completion_columns: Collection[str]) -> Iterator[str]:
        """What is wrong with the templates, given the columns that each may name; one sentence each."""
        for key, template, columns in (
            ("text", self.text, prompt_columns),
            ("completion", self.completion, completion_columns),
        ):
            for field in fields_of(template):
                if field not in columns:
                    known = ", ".join(columns) or "no column, since data.columns.text has none"
                    yield f"prompt.{key} names {{{field}}}, but expected {known}{nearest(field, columns)}"
        if not set(fields_of(self.completion)) - set(prompt_columns):
            yield f"prompt.completion {self.completion!r} does not hold what is to be learned"
