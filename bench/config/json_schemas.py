"""JSON Schemas of the YAML files, for editors and other tools: which keys there are, their types, what each one means.

They are made from the models that validate the files. What holds between keys, such as exactly one of two, is not in
them: `bench check` says that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from bench.config.backbone import Backbone
from bench.config.method import TOKENIZATION_KEYS, Method
from bench.config.recipe import Recipe
from bench.config.study import Study
from bench.config.task import Task

REFERENCES = "#/$defs/{model}"
SOME_KEYS = "#/$defs/Some{model}"  # the same models in mappings that hold some of their keys


def task_schema() -> JsonSchemaValue:
    return model_schema(Task)


def backbone_schema() -> JsonSchemaValue:
    return model_schema(Backbone)


def method_schema() -> JsonSchemaValue:
    schema = model_schema(Method)
    recipe = schema["properties"]["recipe"]
    schema["properties"]["recipe"] = _described(recipe, _some_keys(schema, Recipe, without=TOKENIZATION_KEYS))
    return schema


def study_schema() -> JsonSchemaValue:
    schema = model_schema(Study)
    recipe, overrides = (schema["properties"][key] for key in ("recipe", "overrides"))
    schema["properties"]["recipe"] = _described(recipe, _some_keys(schema, Recipe))
    overrides["patternProperties"] = dict.fromkeys(overrides["patternProperties"], _some_keys(schema, Task))
    return schema


def model_schema(model: type[BaseModel], references: str = REFERENCES) -> JsonSchemaValue:
    """The JSON Schema (draft 2020-12) of what `model` accepts."""
    schema = model.model_json_schema(ref_template=references, schema_generator=_Generator)
    for part in _mappings(schema):
        if isinstance(part.get("default"), dict):  # every key of a block has its own
            del part["default"]
        if "patternProperties" in part:  # names that are keys; others are refused
            part["additionalProperties"] = False
    return {"$schema": GenerateJsonSchema.schema_dialect, **schema}


class _Generator(GenerateJsonSchema):
    """Without a title for each key, which would repeat its name."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False


def _some_keys(schema: JsonSchemaValue, model: type[BaseModel], without: Collection[str] = ()) -> JsonSchemaValue:
    """A reference to the schema of mappings with some keys of `model`, which is added to the definitions."""
    some = model_schema(model, SOME_KEYS)
    parts = {f"Some{name}": part for name, part in some.pop("$defs", {}).items()}
    parts[f"Some{model.__name__}"] = some
    del some["$schema"]
    for part in parts.values():
        part.pop("required", None)
    for key in without:
        del some["properties"][key]
    schema.setdefault("$defs", {}).update(parts)
    return {"$ref": SOME_KEYS.format(model=model.__name__)}


def _described(key: JsonSchemaValue, schema: JsonSchemaValue) -> JsonSchemaValue:
    return {"description": key["description"], **schema}


def _mappings(node: Any) -> Iterator[dict[str, Any]]:
    """`node` and every mapping in it."""
    if isinstance(node, dict):
        yield node
    for item in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _mappings(item)
