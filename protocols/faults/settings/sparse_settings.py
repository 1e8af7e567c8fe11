"""How settings of faults may be written, and are written out."""

from __future__ import annotations

from typing import Any

from pydantic import GetJsonSchemaHandler, SerializerFunctionWrapHandler, model_serializer
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from protocols.runtime.settings_types import Settings


class AlsoAccepts:
    """Annotation: other things that may be written here as well, for the JSON schema."""

    def __init__(self, *schemas: JsonSchemaValue) -> None:
        self.schemas = schemas

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [handler(schema), *self.schemas]}


DURATION_TEXT: JsonSchemaValue = {"type": "string", "pattern": r"^\s*[0-9.eE+-]+\s*(us|ms|s|min|h|d)\s*$"}


class SparseSettings(Settings):
    """Written out without the keys that are null."""

    @model_serializer(mode="wrap")
    def _without_nulls(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in write(self).items() if value is not None}


def is_scalar(value: Any) -> bool:
    """A duration, or a number that lacks its unit."""
    return isinstance(value, (str, int, float)) and not isinstance(value, bool)
