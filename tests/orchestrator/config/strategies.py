"""Random valid settings, built from the typed models themselves: a new key is tested from the day it is added."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from hypothesis import strategies as st
from pydantic import AfterValidator, BeforeValidator
from pydantic.fields import FieldInfo

from agent_node.exchange.settings import ConsensusSettings, HindsightSettings, JointExperienceSettings
from agent_node.settings.exchange import ExchangeSettings
from agent_node.world_models.settings import GPSettings
from env_server.settings import EnvironmentSettings, ImageSettings, WrapperSettings
from orchestrator.config.configuration import Until
from orchestrator.config.parsing.yaml_tree import List, Map, Node, Path
from protocols.runtime.component_registry import Registered, RegisteredKind, component, kinds
from protocols.runtime.settings_types import (
    OneOf,
    Settings,
    format_duration,
    format_rate,
    format_size,
    parse_duration,
    parse_rate,
    parse_size,
)

Plain = st.SearchStrategy[Any]

TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12),
    st.sampled_from(
        ["no", "null", "~", "1e-3", "12:30:45", "# x", "a: b", "- x", "'", '"', "", " ", "0x10", "*a", "&a", "!t", "{", "yes", "\u2028"]
    ),
)
OPTIONS = st.dictionaries(
    TEXTS,
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(-(10**12), 10**12), st.floats(allow_nan=False, allow_infinity=False), TEXTS),
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
        max_leaves=2,
    ),
    max_size=2,
)
NAMES = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,12}", fullmatch=True)


@cache
def settings(model: type[Settings]) -> Plain:
    """Plain maps (as YAML would give them) that are valid for a model: required keys, and any of the others."""
    if model is Until:
        return _some_of(model, 1)
    if issubclass(model, OneOf):
        return st.one_of(*(_all_of(model, chosen) for chosen in model.ONE_OF))
    return _all_of(model)


def _all_of(model: type[Settings], chosen: str = "") -> Plain:
    """Required keys, and any of the others; of those that exclude each other, the chosen one."""
    required, optional = {}, {}
    for name, field in model.by_key().items():
        if name == "plugins":  # modules that exist
            continue
        if issubclass(model, OneOf) and name in model.ONE_OF:
            if name == chosen:
                required[name] = _field(field, False)
        elif field.is_required() or name == "kind":
            required[name] = _field(field)
        else:
            optional[name] = _field(field)
    if model is EnvironmentSettings:  # numbers or vectors, of some function
        optional["goals"] = st.sampled_from([None, {"of": "a.b:c", "count": 3}])
    if model is ImageSettings:  # the order of skipping and stacking only matters where there are both
        optional.pop("frame_order")
    if model is WrapperSettings:  # names of functions
        required["of"] = st.sampled_from(["a.b:c", "./d.py:e"])
    if model is ExchangeSettings:
        optional["components"] = st.just([])  # third parties register them
    if model is ConsensusSettings:
        optional["options"] = st.just({})
    if model is JointExperienceSettings:  # snapshots are sent more often than they are withdrawn
        optional["snapshot_every"], optional["max_policy_age"] = st.integers(1, 200), st.integers(200, 100_000_000)
        optional["reward_range"] = st.none() | st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2, unique=True).map(sorted)
    if model is GPSettings:
        optional["features"] = st.integers(1, 2048).map(lambda half: 2 * half)
    if model is HindsightSettings:
        optional["strategies"] = st.lists(st.sampled_from(["own_individual", "future", "joint", "peer_goal"]), min_size=1, unique=True)
    return st.fixed_dictionaries(required, optional=optional)


def _some_of(model: type[Settings], least: int) -> Plain:
    fields = model.model_fields
    return st.lists(st.sampled_from(list(fields)), min_size=least, unique=True).flatmap(
        lambda keys: st.fixed_dictionaries({key: _field(fields[key], False) for key in keys})
    )


def _field(field: FieldInfo, nullable: bool = True) -> Plain:
    return value(field.annotation, field.metadata, nullable)


def _flat(metadata: Iterable[Any]) -> list[Any]:
    parts: list[Any] = []
    for part in metadata:
        parts += [part, *part.metadata] if isinstance(part, FieldInfo) else [part]
    return parts


def value(annotation: Any, metadata: Iterable[Any] = (), nullable: bool = True) -> Plain:
    """Plain values of one annotation."""
    origin, arguments, extra = get_origin(annotation), get_args(annotation), _flat(metadata)
    if origin is Annotated:
        return value(arguments[0], [*arguments[1:], *extra], nullable)
    if origin in (Union, UnionType):
        parts = [value(part, extra) for part in arguments if part is not NoneType]
        return st.one_of(*parts, *([st.none()] if NoneType in arguments and nullable else []))
    room = next((part.room for part in extra if isinstance(part, Registered)), None)
    if room is not None:
        return st.one_of(*(settings(component(room, kind).settings) for kind in kinds(room)))
    if (named := next((part.room for part in extra if isinstance(part, RegisteredKind)), None)) is not None:
        return st.sampled_from(kinds(named))
    if origin is Literal:
        return st.sampled_from(arguments)
    least, most = _bound(extra, "min_length", 0), _bound(extra, "max_length", 4)
    if origin is list and isinstance(arguments[0], type) and issubclass(arguments[0], Settings):
        return st.lists(settings(arguments[0]), min_size=least, max_size=max(least, 1))
    if origin is list:
        return st.lists(value(arguments[0]), min_size=least, max_size=max(least, min(most, 4)))
    if origin is tuple and any(isinstance(part, AfterValidator) for part in extra):  # an interval
        return st.lists(value(arguments[0]), min_size=2, max_size=2, unique=True).map(sorted)
    if origin is tuple:
        return st.tuples(*(value(part) for part in arguments)).map(list)
    if origin is dict:
        return (
            OPTIONS
            if arguments[0] is str and arguments[1] is Any
            else st.dictionaries(value(arguments[0]), _values(arguments[1]), max_size=2)
        )
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return settings(annotation)
    if annotation is bool:
        return st.booleans()
    if annotation is str:
        pattern = next((part.pattern for part in extra if getattr(part, "pattern", None)), None)
        if pattern is not None:
            return NAMES if pattern.startswith("^[a-z0-9]") else st.from_regex(pattern.removesuffix("$") + r"\Z", fullmatch=True)
        return TEXTS.filter(lambda text: least <= len(text) <= 200)
    return _number(annotation, extra)


def _values(annotation: Any) -> Plain:
    if annotation in (int, float):
        return _number(annotation, [])
    return TEXTS if annotation is str else OPTIONS


def _number(annotation: Any, extra: list[Any]) -> Plain:
    parser = next((part.func for part in extra if isinstance(part, BeforeValidator)), None)
    low, above = _bound(extra, "ge", None), _bound(extra, "gt", None)
    high = _bound(extra, "le", None)
    if annotation is int:
        if parser is parse_size:
            return st.integers(0, 2**45).map(format_size)
        return st.integers(low if low is not None else -(2**53), high if high is not None else 2**53)
    least = low if low is not None else above if above is not None else 0.0
    below = _bound(extra, "lt", None)
    most = high if high is not None else below if below is not None else 1e12
    numbers = st.floats(least, most, exclude_min=above is not None, exclude_max=below is not None)
    if parser is parse_duration:
        return numbers.filter(lambda seconds: seconds == 0 or seconds > 1e-300).map(format_duration)
    if parser is parse_rate:
        return numbers.filter(lambda rate: rate > 1e-300).map(format_rate)
    return numbers


def _bound(extra: list[Any], name: str, missing: Any) -> Any:
    return next((getattr(part, name) for part in extra if getattr(part, name, None) is not None), missing)


def leaves(node: Node, path: Path = ()) -> Iterator[tuple[Path, Node]]:
    """Every scalar and every empty map or list, with its path."""
    if isinstance(node, Map) and node.entries:
        for key, entry in node.entries.items():
            yield from leaves(entry.value, (*path, key))
    elif isinstance(node, List) and node.items:
        for index, item in enumerate(node.items):
            yield from leaves(item, (*path, index))
    else:
        yield path, node
