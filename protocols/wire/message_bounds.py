"""Check that every field of a message has bounds, so that a decoded header cannot be larger than its limits."""

from __future__ import annotations

from msgspec import inspect

from protocols.wire.messages import Message


def first_unbounded(message: type[Message]) -> str | None:
    """The path of the first field that has no bounds or no fixed type, for example `entries[].name`; None where all have."""
    return _look(inspect.type_info(message), "")


def _look(kind: inspect.Type, place: str) -> str | None:
    match kind:
        case inspect.StrType(max_length=most):
            return place if most is None else None
        case inspect.ListType(max_length=most, item_type=item):
            return place if most is None else _look(item, f"{place}[]")
        case inspect.IntType(le=most, ge=least, gt=above) | inspect.FloatType(le=most, ge=least, gt=above):
            return place if most is None or (least is None and above is None) else None
        case inspect.StructType(forbid_unknown_fields=True, fields=fields):
            found = (_look(field.type, f"{place}.{field.name}".removeprefix(".")) for field in fields)
            return next((path for path in found if path is not None), None)
        case inspect.UnionType(types=types):
            return next((path for path in (_look(one, place) for one in types) if path is not None), None)
        case inspect.LiteralType() | inspect.BoolType() | inspect.NoneType():
            return None
    return place or "(unknown fields are allowed)"
