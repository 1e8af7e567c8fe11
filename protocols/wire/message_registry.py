"""Registry of conversations: messages and their routes. Codec, schema hash, guard, fault rules and documentation derive from it.

A conversation registers its messages where they are defined:

    register_conversation("plans", route("peer", "agent", "agent", Plan))

The modules of this package that do so are imported at the first use. Other packages register theirs in a plugin
(`protocols.runtime.component_registry.load_plugins`). Everything derived is computed at the first use and again after a registration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pkgutil import walk_packages
from typing import Any, TypeVar, Union, get_args

import msgspec
from msgspec import inspect

from protocols.runtime.component_registry import load_entry_points
from protocols.runtime.errors import ConfigurationError
from protocols.wire.messages import Channel, Message, Role, schema_digest

CONVERSATIONS = "protocols.conversations"
"""package all of whose modules may register conversations"""
OTHER_MODULES = ("protocols.averaging.averaging_messages", "protocols.statistics.ledger_messages")
"""further modules of ours that register conversations"""
BUILTIN = "protocols."
"""start of the module names of our own messages"""
_Derived = TypeVar("_Derived", bound=Callable[..., Any])


@dataclass(frozen=True)
class Route:
    """Messages that nodes of some roles may send to nodes of other roles on one channel. All other messages are refused."""

    channel: Channel
    senders: frozenset[Role]
    receivers: frozenset[Role]
    types: tuple[type[Message], ...]


@dataclass(frozen=True)
class RegisteredConversation:
    """A conversation in the registry: its messages and their routes."""

    name: str
    routes: tuple[Route, ...]
    newest_only: tuple[type[Message], ...]
    """messages of which only the newest from each sender is delivered"""
    corruption: str
    """`module:attribute` of the class that falsifies these messages in Byzantine agents (`MessageCorruption`); "": none"""

    @property
    def types(self) -> tuple[type[Message], ...]:
        """The message types, each once, in the order of the routes."""
        return tuple(dict.fromkeys(kind for route in self.routes for kind in route.types))


_conversations: dict[str, RegisteredConversation] = {}
_caches: list[Callable[[], None]] = []


def _derived(function: _Derived) -> _Derived:
    """`functools.cache`, cleared by every registration."""
    cached: Any = cache(function)
    _caches.append(cached.cache_clear)
    return cached  # type: ignore[no-any-return]


def route(channel: Channel, senders: str, receivers: str, *types: type[Message]) -> Route:
    """A route; `senders` and `receivers` are roles separated by spaces, for example "agent env"."""
    return Route(channel, _roles(senders), _roles(receivers), types)


def _roles(names: str) -> frozenset[Role]:
    roles: dict[str, Role] = {role: role for role in get_args(Role)}
    if unknown := [name for name in names.split() if name not in roles]:
        raise ConfigurationError(f"a route names the unknown role {unknown[0]!r}; roles are {', '.join(roles)}")
    return frozenset(roles[name] for name in names.split())


def register_conversation(name: str, *routes: Route, newest_only: Iterable[type[Message]] = (), corruption: str = "") -> None:
    """Add a conversation. `ConfigurationError` for a name or message tag that another conversation has, a type that is not a `Message`,
    a field without bounds, or a third party's message on the channel `ctl`."""
    entry = RegisteredConversation(name, routes, tuple(newest_only), corruption)
    third_party = not all(kind.__module__.startswith(BUILTIN) for kind in entry.types)
    if third_party:
        load_builtin_conversations()
    if _conversations.get(name) == entry:
        return
    if name in _conversations:
        raise ConfigurationError(f"a conversation named {name!r} is registered already; choose another name")
    if third_party:
        _check(entry)
    _conversations[name] = entry
    for clear in _caches:
        clear()


def _check(entry: RegisteredConversation) -> None:
    """The rules for messages of other packages; a test checks our own."""
    taken = {_tag(kind): kind for other in _conversations.values() for kind in other.types}
    for one in entry.routes:
        for kind in one.types:
            place = f"conversation {entry.name!r}: {kind.__module__}.{kind.__qualname__}"
            if not (isinstance(kind, type) and issubclass(kind, Message)):
                raise ConfigurationError(f"{place} is not a subclass of protocols.wire.messages.Message; derive it from that class")
            if one.channel == "ctl":
                raise ConfigurationError(f"{place} has a route on the channel ctl, which is reserved; use peer, env or tele")
            if (other := taken.get(_tag(kind))) is not None:
                raise ConfigurationError(f"{place} has the same tag as {other.__module__}.{other.__qualname__}; rename the class")
            if (field := first_unbounded(kind)) is not None:
                text = "has no bounds; annotate it with msgspec.Meta or a type of protocols.wire.messages, such as Count, Text or Names"
                raise ConfigurationError(f"{place}: the field {field} {text}")


def _tag(kind: type[Message]) -> str:
    return kind.__name__.lower()


def first_unbounded(message: type[Message]) -> str | None:
    """The path of the first field that has no bounds or no fixed type, for example `entries[].name`; None where all have, so that a decoded
    header cannot be larger than its limits."""
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


@cache
def load_builtin_conversations() -> None:
    """Import the modules of this package that register conversations."""
    found = walk_packages(import_module(CONVERSATIONS).__path__, f"{CONVERSATIONS}.")
    for module in (*OTHER_MODULES, *(module.name for module in found)):
        import_module(module)


@_derived
def conversations() -> tuple[RegisteredConversation, ...]:
    """All conversations, sorted by name."""
    load_builtin_conversations()
    load_entry_points()
    return tuple(_conversations[name] for name in sorted(_conversations))


@_derived
def routes() -> tuple[Route, ...]:
    """The routes (message type, channel, sender and receiver roles) of all registered conversations."""
    return tuple(one for conversation in conversations() for one in conversation.routes)


@_derived
def message_types() -> tuple[type[Message], ...]:
    """All messages, in the order of their conversations."""
    return tuple(dict.fromkeys(kind for conversation in conversations() for kind in conversation.types))


@_derived
def message_kinds() -> frozenset[str]:
    """The tags of all messages, by which fault rules name them: class names in small letters."""
    return frozenset(map(_tag, message_types()))


@_derived
def message_decoder() -> msgspec.msgpack.Decoder[Message]:
    """Decoder of the header of any message."""
    return msgspec.msgpack.Decoder(_union(message_types()))


@_derived
def schema_hash(role: Role = "agent") -> str:
    """Digest of all messages, compared when a process of that role joins a run. Hosts and command lines exchange no messages of third
    parties, and compare the digest without these."""
    own = role in ("host", "client")
    return schema_digest(_union(kind for kind in message_types() if not own or kind.__module__.startswith(BUILTIN)))


def _union(kinds: Iterable[type[Message]]) -> Any:
    """The union in the order of the tags, since the order is part of the digest."""
    return Union[tuple(sorted(kinds, key=_tag))]  # noqa: UP007  the members are known at run time only


@_derived
def newest_only() -> frozenset[type[Message]]:
    """Messages of which only the newest from each sender is delivered."""
    return frozenset(kind for conversation in conversations() for kind in conversation.newest_only)


@_derived
def corruptions() -> Mapping[type[Message], str]:
    """`module:attribute` of the class that falsifies a message in Byzantine agents, by message type."""
    return {kind: conversation.corruption for conversation in conversations() if conversation.corruption for kind in conversation.types}


@_derived
def accepted(receiver: Role, channel: Channel) -> Mapping[type[Message], frozenset[Role]]:
    """What a node of that role accepts on a channel: message type -> roles of its senders."""
    found: dict[type[Message], frozenset[Role]] = {}
    for one in routes():
        if one.channel == channel and receiver in one.receivers:
            for kind in one.types:
                found[kind] = found.get(kind, frozenset()) | one.senders
    return found
