"""The JSON schema of experiment files, for editors."""

from __future__ import annotations

import json
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema

from orchestrator.experiments.design import Design


class _Schema(GenerateJsonSchema):
    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        written = super().default_schema(schema)
        if isinstance(written.get("default"), dict):
            del written["default"]  # whole sections are described by their own keys
        return written

    def generate(self, schema: core_schema.CoreSchema, mode: JsonSchemaMode = "validation") -> JsonSchemaValue:
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", **super().generate(schema, mode)}


def schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of one file: what `reading.read` refuses in the fields of a file is refused by it too, except rules
    between keys."""
    return Design.model_json_schema(schema_generator=_Schema)


def schema_text() -> str:
    """The schema as committed in `configs/experiments/schema.json`."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
