"""Every key that a YAML file may have is described for its users, by a whole sentence."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from bench.config.backbone import Backbone, PackageSource
from bench.config.budget import Budget
from bench.config.data import Columns, Data
from bench.config.languages import Languages
from bench.config.method import Method, PeftChoice
from bench.config.rank_rules import Growth, Moving, Salience
from bench.config.recipe import RankPhases, Recipe
from bench.config.study import Grid, Limits, Study
from bench.config.task import Generation, Resources, Task
from bench.config.tuning import Dimension, Tuning

MODELS: tuple[type[BaseModel], ...] = (
    Backbone,
    Budget,
    Columns,
    Data,
    Dimension,
    Generation,
    Grid,
    Growth,
    Languages,
    Limits,
    Method,
    Moving,
    PackageSource,
    PeftChoice,
    RankPhases,
    Recipe,
    Resources,
    Salience,
    Study,
    Task,
    Tuning,
)


def keys() -> Iterator[tuple[str, FieldInfo]]:
    for model in MODELS:
        for name, field in model.model_fields.items():
            yield f"{model.__name__}.{name}", field


@pytest.mark.parametrize("field", [pytest.param(field, id=key) for key, field in keys()])
def test_a_key_is_described(field: FieldInfo) -> None:
    description = field.description or ""
    assert description[:1].isupper()
    assert description.endswith(".")
