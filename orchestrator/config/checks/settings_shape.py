"""What a place of the configuration may hold, read from the typed models: its keys, its choices, its default."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from orchestrator.config.parsing.yaml_tree import Path
from protocols.runtime.component_registry import Registered, component, kinds
from protocols.runtime.settings_types import Settings


@dataclass(frozen=True)
class Shape:
    """One place: a settings class, a component of a room, a list, an open map, or a scalar."""

    model: type[Settings] | None = None
    room: str | None = None
    is_list: bool = False
    is_open_map: bool = False
    """whether a map with free keys stands here"""
    inner: Any = None
    """annotation of the items of a list (for tuples that of the first), or of the values of an open map"""
    choices: tuple[Any, ...] = ()
    nullable: bool = False
    union: bool = False
    """whether other things than `choices` may stand here too"""

    def settings(self, kind: Any = None) -> type[Settings] | None:
        """The settings class here: the place's own, or that of the component of this `kind`."""
        if self.room is not None:
            return component(self.room, kind).settings if isinstance(kind, str) and kind in kinds(self.room) else None
        return self.model


def shape_of(annotation: Any, metadata: Iterable[Any] = ()) -> Shape:
    """The shape of values that a type annotation describes, with the constraints in `metadata`."""
    room = next((part.room for part in metadata if isinstance(part, Registered)), None)
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *more = get_args(annotation)
        return shape_of(inner, [*metadata, *more])
    if origin in (Union, UnionType):
        parts = [part for part in get_args(annotation) if part is not NoneType]
        nullable = NoneType in get_args(annotation)
        if len(parts) == 1:
            return replace(shape_of(parts[0], metadata), nullable=nullable)
        choices = tuple(choice for part in parts for choice in shape_of(part).choices)
        return Shape(choices=choices, nullable=nullable, union=True)
    if origin is Literal:
        return Shape(choices=get_args(annotation))
    if origin in (list, tuple):
        return Shape(is_list=True, inner=next(iter(get_args(annotation)), Any))
    if origin is dict:
        return Shape(is_open_map=True, inner=get_args(annotation)[1])
    if room is not None:
        return Shape(room=room)
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return Shape(model=annotation)
    return Shape()


def step(shape: Shape, part: str | int, kind: Any = None) -> Shape | None:
    """The shape one key or index further; None where nothing may stand. `kind` is the component's at this place."""
    if shape.is_list or shape.is_open_map:
        return shape_of(shape.inner) if isinstance(part, int if shape.is_list else str) else None
    owner = shape.settings(kind)
    field = owner.by_key().get(str(part)) if owner is not None else None
    return shape_of(field.annotation, field.metadata) if field is not None else None


def data_at(data: Any, path: Path) -> Any:
    """The value at a path of plain data; None where nothing stands."""
    for part in path:
        if isinstance(data, dict):
            data = data.get(part)
        else:
            data = data[part] if isinstance(data, list) and isinstance(part, int) and part < len(data) else None
    return data


def kind_of(data: Any) -> Any:
    """The `kind` that a map of plain data gives, or None."""
    return data.get("kind") if isinstance(data, dict) else None


def shape_at(root: type[Settings], path: Path, data: Any) -> Shape | None:
    """The shape at a path; `data` (plain) gives the kinds of the components on the path."""
    shape: Shape | None = Shape(model=root)
    for part in path:
        if shape is None:
            return None
        shape = step(shape, part, kind_of(data))
        data = data_at(data, (part,))
    return shape


def owner_at(root: type[Settings], path: Path, data: Any) -> type[Settings] | None:
    """The settings class whose map stands at a path; None for a scalar, an open map, and a component of unknown `kind`."""
    shape = shape_at(root, path, data)
    return shape.settings(kind_of(data_at(data, path))) if shape is not None else None


def field_at(root: type[Settings], path: Path, data: Any) -> FieldInfo | None:
    """The field that the last key of a path stands for."""
    owner = owner_at(root, path[:-1], data)
    return owner.by_key().get(str(path[-1])) if owner is not None else None


def default_at(root: type[Settings], path: Path, data: Any) -> Any:
    """The default at a path, plain (as in YAML); `None` without a default."""
    for length in range(len(path), 0, -1):
        owner, field = owner_at(root, path[: length - 1], data), field_at(root, path[:length], data)
        default = field.get_default(call_default_factory=True) if field is not None else None
        if owner is not None and default not in (None, PydanticUndefined):
            name = str(path[length - 1])
            value = owner.model_construct(**{name: default}).model_dump(mode="json", include={name})[name]
            return data_at(value, path[length:])
    return None


def nearest_keys(shape: Shape, kind: Any = None) -> list[str]:
    """The keys that may stand in a map here; for a component of unknown kind those of every component of its room."""
    owner = shape.settings(kind)
    if owner is not None:
        return list(owner.by_key())
    if shape.room is not None:
        return list(dict.fromkeys(key for known in kinds(shape.room) for key in component(shape.room, known).settings.by_key()))
    return []


def places_of(root: type[Settings], key: str, depth: int = 3) -> list[str]:
    """Where a key of this name may stand, as dotted paths of at most so many keys; components by those of every kind."""
    found: dict[str, None] = {}

    def look(shape: Shape, path: tuple[str, ...]) -> None:
        room, owners = shape.room, [] if shape.model is None else [shape.model]
        for owner in owners if room is None else [component(room, kind).settings for kind in kinds(room)]:
            for name, field in owner.by_key().items():
                if name == key:
                    found[".".join((*path, name))] = None
                elif len(path) + 1 < depth:
                    look(shape_of(field.annotation, field.metadata), (*path, name))

    look(Shape(model=root), ())
    return list(found)
