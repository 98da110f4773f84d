"""The types that every file of this folder uses: the frozen base model, names, and whole numbers with a bound."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

# Names become folders and file names, so they hold no slash and no space.
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=64)]
KeyName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
HubId = Annotated[str, StringConstraints(pattern=r"^[\w.-]+/[\w.-]+$", max_length=200)]
CommitHash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]

Positive = Annotated[int, Field(gt=0)]
NonNegative = Annotated[int, Field(ge=0)]

# What a task predicts. A text-label task is a classification whose label is generated as text.
Kind = Literal["classification", "regression", "summarization", "text-label"]


class Frozen(BaseModel):
    """An immutable model. It refuses unknown keys, NaN and infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)
