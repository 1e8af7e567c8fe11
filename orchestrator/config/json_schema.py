"""JSON schemas of configuration and experiment files, for editors: completion, descriptions, and marks while typing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema

from orchestrator.config.configuration import Configuration


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


class _Schema(FileSchema):
    """Components as one rule per kind: an editor then speaks of the chosen component only, not of all that might have been meant."""

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        choices = {str(kind): self.generate_inner(choice) for kind, choice in schema["choices"].items()}
        rules = [
            {"if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]}, "then": choice} for kind, choice in choices.items()
        ]
        return {"type": "object", "properties": {"kind": {"enum": list(choices)}}, "allOf": rules}

    def generate(self, schema: core_schema.CoreSchema, mode: JsonSchemaMode = "validation") -> JsonSchemaValue:
        written = super().generate(schema, mode)
        required = written.pop("required")
        sections = {name: key.rpartition("/")[2] for name, rule in written["properties"].items() if (key := rule.get("$ref"))}
        within = {name: {"required": keys} for name, section in sections.items() if (keys := written["$defs"][section].pop("required", []))}
        written["properties"] = {
            **written["properties"],
            "extends": {"type": "string", "description": "a file of defaults: maps are merged, lists replaced; relative to this file"},
        }
        return {**written, "anyOf": [{"required": required, "properties": within}, {"required": ["extends"]}]}


def schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of one file: what `load` refuses in the fields of a file is refused by it too, except cross checks.
    A file that `extends` another may leave out required keys."""
    return Configuration.model_json_schema(schema_generator=_Schema)


def schema_text() -> str:
    """The schema as committed in `configs/schema.json`."""
    return text_of(schema())
