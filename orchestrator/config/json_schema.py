"""How JSON schemas of our files are written, for editors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema


class FileSchema(GenerateJsonSchema):
    """Draft 2020-12; keys have their defaults, sections don't."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Without the default of a whole section: its own keys describe it."""
        written = super().default_schema(schema)
        if isinstance(written.get("default"), dict):
            del written["default"]
        return written

    def generate(self, schema: core_schema.CoreSchema, mode: JsonSchemaMode = "validation") -> JsonSchemaValue:
        """With the draft, so that an editor knows by which rules to read it."""
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", **super().generate(schema, mode)}


def text_of(schema: Mapping[str, Any]) -> str:
    """As a schema is committed."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
