"""The frozen hash of the schema changes with whatever two versions would understand differently, not with words."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from protocols.wire.message_registry import schema_hash
from protocols.wire.messages import Message, schema_digest
from tests.protocols.wire.bodies import TYPES

ORDERED = sorted(TYPES, key=lambda cls: cls.__name__.lower())
"""the order of the union that is hashed"""


def version(name: str = "Ping", tag: str = "ping", doc: str = "", unknown: bool = False, **fields: Any) -> type[msgspec.Struct]:
    """A message type with these fields: a type, or (type, default)."""
    listed = [(key, *value) if isinstance(value, tuple) else (key, value) for key, value in fields.items()]
    options: dict[str, Any] = {"tag_field": "t", "tag": tag, "forbid_unknown_fields": not unknown, "kw_only": True}
    return msgspec.defstruct(name, listed, namespace={"__doc__": doc}, **options)


Inner = version("Inner", "inner", x=Annotated[int, Meta(ge=0, le=5)])
Count = Annotated[int, Meta(ge=0, le=9)]
Word = Annotated[str, Meta(max_length=9, pattern="^[a-z]*$")]
BASE: dict[str, Any] = {"count": Count, "word": (Word, ""), "kind": Literal["a", "b"], "many": Annotated[list[Count], Meta(max_length=4)]}
CHANGES: dict[str, dict[str, Any]] = {
    "field added": {**BASE, "more": (Count, 0)},
    "field removed": {key: BASE[key] for key in ("count", "word", "kind")},
    "field renamed": {**{key: BASE[key] for key in ("count", "word", "kind")}, "lots": BASE["many"]},
    "field optional": {**BASE, "count": (Count, 0)},
    "default changed": {**BASE, "word": (Word, "x")},
    "lower bound": {**BASE, "count": Annotated[int, Meta(ge=1, le=9)]},
    "upper bound": {**BASE, "count": Annotated[int, Meta(ge=0, le=10)]},
    "bound that is open": {**BASE, "count": Annotated[int, Meta(gt=0, le=9)]},
    "length": {**BASE, "word": (Annotated[str, Meta(max_length=10, pattern="^[a-z]*$")], "")},
    "pattern": {**BASE, "word": (Annotated[str, Meta(max_length=9, pattern="^[a-z0-9]*$")], "")},
    "number instead of integer": {**BASE, "count": Annotated[float, Meta(ge=0, le=9)]},
    "bool instead of integer": {**BASE, "count": bool},
    "or nothing": {**BASE, "count": Count | None},
    "choice added": {**BASE, "kind": Literal["a", "b", "c"]},
    "list length": {**BASE, "many": Annotated[list[Count], Meta(max_length=5)]},
    "list of others": {**BASE, "many": Annotated[list[Annotated[int, Meta(ge=0, le=8)]], Meta(max_length=4)]},
    "list of structs": {**BASE, "many": Annotated[list[Inner], Meta(max_length=4)]},
    "tag": {**BASE, "tag": "pong"},
    "name": {**BASE, "name": "Pong"},
    "unknown fields allowed": {**BASE, "unknown": True},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_every_kind_of_change_is_seen(change: dict[str, Any]) -> None:
    assert schema_digest(version(**change)) != schema_digest(version(**BASE))


def test_documentation_is_no_change() -> None:
    assert schema_digest(version(doc="Now explained.", **BASE)) == schema_digest(version(**BASE))


def test_a_change_deep_inside_is_seen() -> None:
    changed = version("Inner", "inner", x=Annotated[int, Meta(ge=0, le=6)])
    of = [version(**BASE, inner=Annotated[list[kind], Meta(max_length=2)]) for kind in (Inner, changed)]  # type: ignore[valid-type]
    assert schema_digest(of[0]) != schema_digest(of[1])


@pytest.mark.parametrize("cls", TYPES, ids=lambda cls: cls.__name__)
def test_a_field_more_or_a_message_less_changes_the_hash_of_the_real_union(cls: type[Message]) -> None:
    others = [kind for kind in ORDERED if kind is not cls]
    assert schema_digest(reduce(or_, ORDERED)) == schema_hash()
    position = ORDERED.index(cls)
    assert schema_digest(reduce(or_, others)) != schema_hash()
    tag = {"tag_field": "t", "tag": cls.__name__.lower()}
    more = msgspec.defstruct(cls.__name__, [("extra", bool, False)], bases=(cls,), kw_only=True, forbid_unknown_fields=True, **tag)  # type: ignore[call-overload]
    assert schema_digest(reduce(or_, [*others[:position], more, *others[position:]])) != schema_hash()
