"""Vocabulary of every settings class: frozen, no unknown keys, units where a unit is possible; and settings laid over other settings."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

_DURATION_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE_UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_RATE_UNITS = {"bit": 1.0, "kbit": 1e3, "mbit": 1e6, "gbit": 1e9}
_QUANTITY = re.compile(r"^\s*([0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z]*)\s*$")


def _quantity(value: Any, units: dict[str, Any], kind: str, examples: str, likely: tuple[str, str]) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        raise ValueError(f"{value!r} has no unit; write {value}{likely[0]} or {value}{likely[1]}")
    match = _QUANTITY.match(value) if isinstance(value, str) else None
    if match is None:
        text = f'"{value}"' if isinstance(value, str) else repr(value)
        raise ValueError(f"{text} is not a {kind}; write for example {examples}")
    number, unit = match.groups()
    if not unit:
        raise ValueError(f'"{value}" has no unit; write {" or ".join(number + unit for unit in likely)}')
    if unit not in units:
        raise ValueError(f'"{value}" has the unknown unit {unit}; units are {", ".join(units)}')
    return float(number) * float(units[unit])


def parse_duration(value: Any) -> float:
    """Seconds of a text such as `250ms`, `5s`, `2min`, `1h`; a bare number is refused, since its unit is unknown."""
    return _quantity(value, _DURATION_UNITS, "duration", "250ms, 5s or 2min", ("ms", "s"))


def parse_size(value: Any) -> int:
    """Bytes of a text such as `64KiB` or `10MB`; a bare number is refused."""
    size = _quantity(value, _SIZE_UNITS, "size", "64KiB or 10MB", ("MiB", "GiB"))
    if size != int(size):
        raise ValueError(f"{value!r} is not a whole number of bytes")
    return int(size)


def parse_rate(value: Any) -> float:
    """Bits per second of a text such as `10mbit`; a bare number is refused."""
    return _quantity(value, _RATE_UNITS, "rate", "500kbit or 10mbit", ("kbit", "mbit"))


def _shortest(value: float, units: dict[str, float], parse: Callable[[str], float], smallest: str) -> str:
    """In the first unit in which it is at least 1 and written exactly; else in the smallest one."""
    for unit, factor in units.items():
        text = f"{value / factor:.15g}{unit}"
        if "e" not in text and float(text[: -len(unit)]) >= 1 and parse(text) == value:
            return text
    return f"{value!r}{smallest}"


def format_duration(seconds: float) -> str:
    """The shortest text that `parse_duration` reads back to exactly `seconds`."""
    return _shortest(seconds, {unit: _DURATION_UNITS[unit] for unit in ("h", "min", "s", "ms", "us")}, parse_duration, "s")


def format_size(size: int) -> str:
    """The shortest text that `parse_size` reads back to exactly `size`."""
    unit = next((unit for unit in ("GiB", "MiB", "KiB") if size and size % _SIZE_UNITS[unit] == 0), "B")
    return f"{size // _SIZE_UNITS[unit]}{unit}"


def format_rate(rate: float) -> str:
    """The shortest text that `parse_rate` reads back to exactly `rate`."""
    return _shortest(rate, {unit: _RATE_UNITS[unit] for unit in ("gbit", "mbit", "kbit")}, parse_rate, "bit")


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^\s*[0-9.eE+-]+\s*(us|ms|s|min|h|d)\s*$", "description": "a time with its unit"}),
]
"""Seconds, written with a unit: `250ms`, `5s`, `2min`, `1h`."""

Size = Annotated[
    int,
    BeforeValidator(parse_size),
    PlainSerializer(format_size, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^\s*[0-9.eE+-]+\s*([kMG]?B|[KMG]iB)\s*$", "description": "a size with its unit"}),
]
"""Bytes, written with a unit: `64KiB`, `10MB`."""

Rate = Annotated[
    float,
    BeforeValidator(parse_rate),
    PlainSerializer(format_rate, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^\s*[0-9.eE+-]+\s*[kmg]?bit\s*$", "description": "a rate per second with its unit"}),
]
"""Bits per second, written with a unit: `500kbit`, `10mbit`."""

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
"""A number from 0 to 1."""


class AlsoAccepts:
    """Annotation: other things that may be written here as well, for the JSON schema."""

    def __init__(self, *schemas: JsonSchemaValue) -> None:
        self.schemas = schemas

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [handler(schema), *self.schemas]}


_USER_FUNCTION = r"^([A-Za-z_]\w*(\.[A-Za-z_]\w*)*|.*\.py):[A-Za-z_]\w*$"


def _named(path: str) -> str:
    if not re.match(_USER_FUNCTION, path):
        raise ValueError(f'"{path}" names no function or class; write package.module:name or ./file.py:name')
    return path


UserFunction = Annotated[str, AfterValidator(_named), WithJsonSchema({"type": "string", "pattern": _USER_FUNCTION})]
"""A function or class of a user: `package.module:name` or `./file.py:name` (`protocols.runtime.user_code.user_function`)."""

NodeName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
"""The name of a node: lower-case letters, digits, `_`, `.`, `-`."""


_classes: list[type[Settings]] = []


def settings_classes() -> Sequence[type[Settings]]:
    """All settings classes, in the order of their definition."""
    return tuple(_classes)


class Settings(BaseModel):
    """Base of all settings: immutable, unknown keys refused. Defaults are in base units (seconds, bytes). A key that is a word of Python
    (`for`, `from`) is the alias of its field, in files and in what is written out."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True, serialize_by_alias=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        _classes.append(cls)

    @classmethod
    def by_key(cls) -> dict[str, FieldInfo]:
        """The fields by the keys that stand for them in a file."""
        return {field.alias or name: field for name, field in cls.model_fields.items()}


class _Declared:
    """Capabilities: read from a class those that it declares, from an instance those that `active_capabilities` leaves of them."""

    def __init__(self, declared: tuple[str, ...]) -> None:
        self._declared = declared

    def __get__(self, instance: ComponentSettings | None, owner: type[ComponentSettings]) -> tuple[str, ...]:
        return self._declared if instance is None else instance.active_capabilities(self._declared)


class ComponentSettings(Settings):
    """Settings of a component that is chosen by its `kind`.

    Configuration rules and the agent test what a class declares here, never its type or the value of `kind`: a component of another package
    that declares the same is treated the same.
    """

    capabilities: ClassVar[tuple[str, ...]] = ()
    """what the component offers or asks for, by the names that its room documents; of an instance those that its values leave or add"""
    groups: ClassVar[tuple[str, ...]] = ()
    """names of its parameter groups, which `exchange.consensus.groups` may list"""
    architecture: ClassVar[tuple[str, ...]] = ()
    """fields that decide the shapes of those parameters: agents that average them must agree in these"""
    kind: str

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        cls.capabilities = _Declared(cls.capabilities)  # type: ignore[assignment]

    def active_capabilities(self, declared: tuple[str, ...]) -> tuple[str, ...]:
        """The capabilities of these settings, where their values add to those that the class declares, or take some of them away."""
        return declared


class OneOf(Settings):
    """Settings of which exactly one of the keys `ONE_OF` is given."""

    ONE_OF: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [name for name in self.ONE_OF if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(self.ONE_OF)} (given: {', '.join(given) or 'none'})")
        return self

    @property
    def chosen(self) -> str:
        """The one that is given."""
        return next(name for name in self.ONE_OF if getattr(self, name) is not None)


class Period(OneOf):
    """A period, counted in exactly one unit."""

    ONE_OF = ("episodes", "updates", "steps", "time")

    episodes: int | None = Field(default=None, ge=1)
    """finished training episodes"""
    updates: int | None = Field(default=None, ge=1)
    """gradient updates of the learner"""
    steps: int | None = Field(default=None, ge=1)
    """step messages that the agent has seen; each brings a step of every copy"""
    time: Duration | None = None
    """wall-clock time"""


# --- overrides ----------------------------------------------------------------------------------------------------------------------------


def replaces_component(old_kind: object, new_kind: object) -> bool:
    """Whether a mapping of `new_kind` replaces one of `old_kind` whole, instead of being merged with it key by key: both name a component,
    and not the same one. None: no `kind` is given."""
    return old_kind is not None and new_kind is not None and old_kind != new_kind


def merge_overrides(base: Any, over: Any) -> Any:
    """`over` laid over `base` (plain data as in YAML): mappings are merged key by key; lists, scalars, and components of another `kind`
    replace what was there. Neither argument is changed."""
    if not (isinstance(base, dict) and isinstance(over, dict)) or replaces_component(base.get("kind"), over.get("kind")):
        return over
    return {**base, **{key: merge_overrides(base[key], value) if key in base else value for key, value in over.items()}}
