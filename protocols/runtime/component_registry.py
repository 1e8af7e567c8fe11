"""Components by their YAML name: settings class and implementation, ours and third parties'.

A room ("learner", "world_model", ...) holds components of one contract. A component is known by its `kind`, has a settings class
(torch-free, so that a configuration is checked in milliseconds) and the place of its implementation, imported only in the process
that runs it. Other packages add theirs through the entry-point group `murmuration.components`: each entry point is a callable that
receives this module's `register`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from protocols.runtime.settings_types import Settings


@dataclass(frozen=True)
class Component:
    """One entry of the registry; `implementation` is `module:attribute`."""

    room: str
    kind: str
    settings: type[Settings]
    implementation: str

    def load(self) -> Any:
        """Import and return the implementation (a class or a factory)."""
        module, _, attribute = self.implementation.partition(":")
        return getattr(import_module(module), attribute)


_components: dict[tuple[str, str], Component] = {}


def register(room: str, kind: str, settings: type[Settings], implementation: str) -> None:
    """Add a component; the settings class must have a field `kind: Literal[kind]`. A name taken by another is refused."""
    component = Component(room, kind, settings, implementation)
    known = _components.get((room, kind))
    if known is not None and known != component:
        raise ValueError(f"{room} {kind!r} is registered already, as {known.implementation}")
    _components[(room, kind)] = component


@cache
def _load_third_parties() -> None:
    for entry_point in entry_points(group="murmuration.components"):
        entry_point.load()(register)


def component(room: str, kind: str) -> Component:
    """The component of that name; `KeyError` when there is none."""
    _load_third_parties()
    return _components[(room, kind)]


def kinds(room: str) -> list[str]:
    """Names known in a room, sorted."""
    _load_third_parties()
    return sorted(kind for there, kind in _components if there == room)


def create(room: str, settings: Any) -> Callable[..., Any]:
    """The implementation for given settings: `create("learner", s)(s, ...)`."""
    implementation: Callable[..., Any] = component(room, settings.kind).load()
    return implementation


@dataclass(frozen=True)
class Registered:
    """Annotation of a settings field that takes any component of a room: `Annotated[Settings, Registered("learner")]`.

    With `by_name` the name of a kind alone stands for that component with its defaults.
    """

    room: str
    by_name: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices = {kind: handler.generate_schema(component(self.room, kind).settings) for kind in kinds(self.room)}
        union = core_schema.tagged_union_schema(choices, discriminator="kind")
        if not self.by_name:
            return union
        return core_schema.no_info_before_validator_function(lambda given: {"kind": given} if isinstance(given, str) else given, union)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        written = handler(schema)
        return {"anyOf": [{"enum": kinds(self.room)}, written]} if self.by_name else written
