"""The types that every file of this folder uses: the frozen base model, names, and whole numbers with a bound."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, StringConstraints, Tag, WithJsonSchema

MOST_LETTERS_OF_LABEL = 40  # a column of a table must hold it
MOST_LETTERS = 64  # of a name: five of them make a path, and a component of a path has at most 255 bytes


def _named(form: str, expected: str) -> Callable[[str], str]:
    """A check that a name has this form (a regular expression), which its message calls `expected`."""

    def check(name: str) -> str:
        if re.fullmatch(form, name) and len(name) <= MOST_LETTERS:
            return name
        usable = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:MOST_LETTERS]
        hint = f" (did you mean {usable!r}?)" if usable != name and re.fullmatch(form, usable) else ""
        raise ValueError(f"expected {expected}, of at most {MOST_LETTERS}, found {name!r}{hint}")

    return check


def _schema(form: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^{form}$", "maxLength": MOST_LETTERS})


# Names become folders, files and rules of Snakemake. Small letters alone: file systems differ in what they tell apart.
_NAME, _KEY = r"[a-z0-9][a-z0-9_.-]*", r"[a-z][a-z0-9_]*"
Name = Annotated[
    str,
    AfterValidator(_named(_NAME, "small letters, digits, '_', '.' and '-' that begin with a letter or digit")),
    _schema(_NAME),
]
KeyName = Annotated[
    str, AfterValidator(_named(_KEY, "small letters, digits and '_' that begin with a letter")), _schema(_KEY)
]


def _is_label(label: str) -> str:
    """`label`, if it can be read in a table. Raises ValueError."""
    if not label or label != label.strip() or len(label) > MOST_LETTERS_OF_LABEL or not label.isprintable():
        raise ValueError(
            f"expected one line of 1 to {MOST_LETTERS_OF_LABEL} characters without a blank at an end, found {label!r}"
        )
    return label


# The name of a task or a method for readers; it does not go into any path.
Label = Annotated[
    str,
    AfterValidator(_is_label),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MOST_LETTERS_OF_LABEL}),
]
HubId = Annotated[str, StringConstraints(pattern=r"^[\w.-]+/[\w.-]+$", max_length=200)]
# As the hub writes it, so that it can be its metadata.
License = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]*$", max_length=60)]
CommitHash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]

Positive = Annotated[int, Field(gt=0)]
# A text is held against 'auto' alone, and anything else against the numbers, so that a fault has one message.
PositiveOrAuto = Annotated[
    Annotated[Positive, Tag("[number]")] | Annotated[Literal["auto"], Tag("[auto]")],
    Discriminator(lambda value: "[auto]" if isinstance(value, str) else "[number]"),
]
NonNegative = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


def _is_json(value: Any) -> Any:
    """`value`, if JSON has such values. Raises ValueError with the place of what it lacks."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"expected a finite number, found {value}")
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if isinstance(value, dict) and not isinstance(key, str):
            raise ValueError(f"expected text as key, found {key!r}: write it in quotes")
        try:
            _is_json(item)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from None
    return value


# A value whose type somebody else knows, such as PEFT. It is part of a hash, so it is JSON.
Plain = Annotated[Any, AfterValidator(_is_json)]

# What a task predicts: the keys of bench/config/kinds.py.
Kind = Literal[
    "classification",
    "image-classification",
    "regression",
    "summarization",
    "translation",
    "text-label",
    "causal-lm",
    "multiple-choice",
    "scored-choice",
    "question-answering",
]


class Stored(BaseModel):
    """An immutable model of what the harness itself wrote. It refuses unknown keys, NaN and infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)


class Frozen(Stored):
    """An immutable model of what a person wrote. It also takes no value of another type: not true, "1" or 1.0 for 1.

    A whole number is taken where a number is expected.
    """

    model_config = ConfigDict(strict=True)


def label_field(what: str) -> Any:
    """The field `label` of a model with a field `name`, which is the label where a file gives none."""
    return Field(
        # A name that was refused is not among the fields.
        default_factory=lambda fields: str(fields.get("name", "")),
        validate_default=False,  # a name may be longer
        description=f"Name of the {what} in tables, figures and sentences. The default is its name.",
    )
