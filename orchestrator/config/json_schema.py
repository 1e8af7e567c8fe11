"""JSON schemas (draft 2020-12) of configurations and experiments, by which editors complete keys and mark mistakes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema

from orchestrator.config.configuration import Configuration
from orchestrator.config.key_names import ALIASES
from protocols.runtime.settings_types import Settings


class _FileSchema(GenerateJsonSchema):
    """Keys have their defaults, sections don't: their own keys describe them."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        written = super().default_schema(schema)
        if isinstance(written.get("default"), dict):
            del written["default"]
        return written

    def generate(self, schema: core_schema.CoreSchema, mode: JsonSchemaMode = "validation") -> JsonSchemaValue:
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", **super().generate(schema, mode)}


class _ConfigurationSchema(_FileSchema):
    """A component is one rule per kind, so that an editor reports on the chosen kind only. A file with `extends` may leave out keys."""

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
        extends = {"type": "string", "description": "a file of defaults: maps are merged, lists replaced; relative to this file"}
        written["properties"] = {**written["properties"], "extends": extends}
        for section, names in ALIASES.items():
            place = written
            for key in section.split("."):
                place = self._target(written, place["properties"][key])
            place = self._target(written, place.get("else", place))  # where a name may stand, the map
            for rule in place["allOf"]:
                keys = self._target(written, rule["then"])["properties"]
                accepted = {name: key for name, key in names.items() if key in keys and name not in keys}
                keys |= {name: {**keys[key], "description": f"another name of {key}"} for name, key in accepted.items()}
        return {**written, "anyOf": [{"required": required, "properties": within}, {"required": ["extends"]}]}

    @staticmethod
    def _target(written: JsonSchemaValue, schema: JsonSchemaValue) -> JsonSchemaValue:
        """What a reference refers to; the schema itself where it is none."""
        target: JsonSchemaValue = written["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
        return target


def schema_of(model: type[Settings]) -> dict[str, Any]:
    """The schema of files of that model: fields are checked as by `load`, rules between keys are not."""
    return model.model_json_schema(schema_generator=_ConfigurationSchema if model is Configuration else _FileSchema)


def schema_text(schema: Mapping[str, Any]) -> str:
    """A schema as it is committed (`configs/schema.json`, `configs/experiments/schema.json`)."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
