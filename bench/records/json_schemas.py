"""The JSON Schemas that `bench schema` writes: of each kind of YAML file and of records."""

from __future__ import annotations

import json
from collections.abc import Callable

from pydantic.json_schema import JsonSchemaValue

from bench.config.json_schemas import backbone_schema, method_schema, model_schema, study_schema, task_schema
from bench.records.schema import SCHEMA_VERSION, Record


def record_schema() -> JsonSchemaValue:
    schema = model_schema(Record)
    schema["properties"]["schema_version"] = {"const": SCHEMA_VERSION}
    return schema


SCHEMAS: dict[str, Callable[[], JsonSchemaValue]] = {
    "task": task_schema,
    "method": method_schema,
    "backbone": backbone_schema,
    "study": study_schema,
    "record": record_schema,
}


def schema_files() -> dict[str, bytes]:
    """The content of each file, by its name."""
    return {
        f"{name}.schema.json": json.dumps(make(), indent=1, ensure_ascii=False).encode() + b"\n"
        for name, make in SCHEMAS.items()
    }
